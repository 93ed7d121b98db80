"""TensorRT on an NVIDIA GPU, meant for Jetsons: fp16, without PyTorch once the plans are built.

Not run yet: see :mod:`dytrack_ros.engines.tensorrt.plans`. At every start the engine compares its answers with PyTorch's,
since users report releases of TensorRT that compute vision transformers wrongly in fp16 without an error, 10.3 of JetPack
6 among them (issues 4723 and 4837 of NVIDIA/TensorRT).
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dytrack_ros.engines.base import StagedEngine
from dytrack_ros.engines.onnx_graphs import graph_names, read_manifest, reference_crop
from dytrack_ros.engines.registry import check_device
from dytrack_ros.engines.tensorrt.cuda_driver import CudaDevice
from dytrack_ros.engines.tensorrt.plans import cached_plans, create, import_tensorrt, plan_file, tensorrt_log
from dytrack_ros.model.weight_files import load_config, resolve_weights

# Of scores, and of corners as parts of the search region. Rounding dytrack_small to fp16 changed them by at most 0.0031
# in 56 pairs of crops (PyTorch on a CPU); what overflows or is wired wrongly is far off.
LARGEST_DIFFERENCE = 0.02

_log = logging.getLogger(__name__)


class _Plan(NamedTuple):
    engine: Any
    context: Any


class TensorRTEngine(StagedEngine):
    """See :class:`dytrack_ros.engines.registry.Engine`.

    Each value has one place on the GPU, shared by the graph that makes it and those that need it. A crop goes up once as
    uint8; down come 4 bytes for each exit and 16 for a box. ``threads`` is without meaning here. ``precision`` is fp16, or
    fp32 where that is asked for, and where this TensorRT computes wrongly in fp16.

    Raises ValueError for a device that is none or not there and for foreign weights, ImportError where TensorRT or the
    driver is missing, RuntimeError where TensorRT fails or its answers differ from PyTorch's in fp32 too.
    """

    name = "tensorrt"

    def __init__(self, weights: str | Path, device: str = "auto", threads: int | None = None, precision: str = "auto"):
        check_device(device)
        if device == "cpu":
            raise ValueError(
                "engine 'tensorrt' computes on a GPU: for device 'cpu' use engine 'openvino', 'onnxruntime' or 'torch'"
            )
        self._tensorrt = import_tensorrt()
        path = resolve_weights(weights)
        super().__init__(load_config(path))
        ordinal = int(device.partition(":")[2] or 0)
        self.device = f"cuda:{ordinal}"
        self._gpu = CudaDevice(ordinal)
        self._template, self._search = (
            self._gpu.staging_array((size, size, 3), np.uint8) for size in (self.template_size, self.search_size)
        )
        self._score, self._box = self._gpu.staging_array((1,), np.float32), self._gpu.staging_array((4,), np.float32)
        for tried in ("fp16", "fp32") if precision == "auto" else ("fp32",):
            with cached_plans(path, tried, self._gpu) as folder:
                self._load(folder)
                expected = read_manifest(folder)["reference_answers"]
            difference = self._difference(expected)
            if difference <= LARGEST_DIFFERENCE:
                self.precision = tried
                return
            complaint = (
                f"TensorRT {self._tensorrt.__version__} on {self._gpu.name} computes scores or boxes in {tried} that "
                f"differ from PyTorch's by {difference:.2g} (allowed is {LARGEST_DIFFERENCE})"
            )
            _log.warning("%s", complaint)
        raise RuntimeError(f"{complaint}: use another engine")

    def _load(self, folder: Path) -> None:
        self._runtime = create(self._tensorrt, "Runtime")
        self._addresses: dict[str, int] = {}
        self._plans = {name: self._load_plan(plan_file(folder, name)) for name in graph_names(self.exit_count)}

    def _load_plan(self, path: Path) -> _Plan:
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        context = None if engine is None else engine.create_execution_context()
        if context is None:
            raise RuntimeError(
                f"TensorRT cannot load {path} ({self._last_error}); delete {path.parent} to build it anew"
            )
        for value in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            if value not in self._addresses:
                size = math.prod(engine.get_tensor_shape(value)) * engine.get_tensor_dtype(value).itemsize
                self._addresses[value] = self._gpu.allocate(size)
            if not context.set_tensor_address(value, self._addresses[value]):
                raise RuntimeError(f"TensorRT refuses memory for {value} of {path}: {self._last_error}")
        return _Plan(engine, context)

    @property
    def _last_error(self) -> str:
        return tensorrt_log(self._tensorrt).last_error

    def _difference(self, expected: list[list[float]]) -> float:
        """Runs everything once, which warms up too: the largest difference from what PyTorch answered when the graphs were
        made. It may be no number."""
        self.set_template(reference_crop(self.template_size))
        self.begin(reference_crop(self.search_size))
        answers = [[self.advance(), *self.locate()] for _ in range(self.exit_count)]
        self._forget()
        return float(np.abs(np.subtract(answers, expected)).max())

    def _run(self, graph: str) -> None:
        if not self._plans[graph].context.execute_async_v3(self._gpu.stream):
            raise RuntimeError(f"TensorRT failed in {graph}: {self._last_error}")

    def _fetch(self, value: str, staging: np.ndarray) -> None:
        self._gpu.download(self._addresses[value], staging)
        self._gpu.synchronize()

    # A device is current in one thread, and a node does not compute in the thread that made its engine. A staging array
    # may be overwritten at once: what goes into it next is uploaded after it, in the order of the stream.

    def _take_template(self, template: np.ndarray) -> None:
        self._gpu.make_current()
        self._template[:] = template
        self._gpu.upload(self._template, self._addresses["template"])
        self._run("embed_template")

    def _take_search(self, search: np.ndarray) -> None:
        self._gpu.make_current()
        self._search[:] = search
        self._gpu.upload(self._search, self._addresses["search"])

    def _run_stage(self, position: int) -> float:
        self._gpu.make_current()
        self._run(f"advance_{position + 1}")
        self._fetch(f"score_{position + 1}", self._score)
        return float(self._score[0])

    def _run_head(self, position: int) -> np.ndarray:
        self._gpu.make_current()
        self._run(f"locate_{position + 1}")
        self._fetch(f"box_{position + 1}", self._box)
        return self._box.copy()
