"""TensorRT on an NVIDIA GPU, for Jetsons: fp16, and without PyTorch once the plans are built.

It is experimental: it has not run on a GPU yet (see :mod:`dytrack_ros.engines.tensorrt.plans`), so it is used only if
it is asked for by name. At every start it compares its answers with PyTorch's: there are reports of TensorRT releases
that compute vision transformers wrongly in fp16 without an error, 10.3 of JetPack 6 among them (NVIDIA/TensorRT issues
4723 and 4837).
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dytrack_ros.engines.base import Engine, check_device
from dytrack_ros.engines.onnx_graphs import graph_names, read_manifest
from dytrack_ros.engines.tensorrt.cuda_driver import CudaDevice
from dytrack_ros.engines.tensorrt.plans import cached_plans, create, import_tensorrt, plan_file, tensorrt_log
from dytrack_ros.model.weight_files import load_config, resolve_weights

# Largest difference of scores and box corners from PyTorch's. Rounding dytrack_small to fp16 changed them by at most
# 0.0031 in 56 pairs of crops (PyTorch on a CPU); overflows and wiring errors change them far more.
LARGEST_DIFFERENCE = 0.02

_log = logging.getLogger(__name__)


class _Plan(NamedTuple):
    engine: Any
    context: Any


class TensorRTEngine(Engine):
    """Runs the graphs as TensorRT plans on a CUDA device.

    Each value has one address on the GPU, shared by the graph that computes it and those that read it. A frame uploads
    its crop as uint8 and downloads 4 bytes an exit and the heat maps. Precision ``auto`` is fp16, or fp32 where this
    TensorRT computes wrongly in fp16. ``threads`` has no effect.

    Raises:
        ValueError: no such device, or a file that is not one of our weights.
        ImportError: TensorRT or the NVIDIA driver is missing.
        RuntimeError: TensorRT fails, or its answers differ from PyTorch's in fp32 too.
    """

    name = "tensorrt"

    def __init__(
        self, weights: str | Path, *, device: str = "auto", threads: int | None = None, precision: str = "auto"
    ) -> None:
        check_device(device)
        if device == "cpu":
            raise ValueError(
                "engine 'tensorrt' runs on a GPU: for device 'cpu' use engine 'openvino', 'onnxruntime' or 'torch'"
            )
        self._tensorrt = import_tensorrt()
        _log.warning("engine 'tensorrt' is experimental: it has not been tested on a GPU; 'auto' never chooses it")
        path = resolve_weights(weights)
        config = load_config(path)
        super().__init__(config)
        ordinal = int(device.partition(":")[2] or 0)
        self.device = f"cuda:{ordinal}"
        self._gpu = CudaDevice(ordinal)
        self._template, self._search = (
            self._gpu.staging_array((size, size, 3), np.uint8) for size in (self.template_size, self.search_size)
        )
        self._score = self._gpu.staging_array((1,), np.float32)
        self._heat_maps = self._gpu.staging_array((2, config.search_grid, config.search_grid), np.float32)
        for tried in ("fp16", "fp32") if precision == "auto" else ("fp32",):
            with cached_plans(path, tried, self._gpu) as folder:
                self._load(folder)
                expected = read_manifest(folder)["reference_answers"]
            difference = float(np.abs(self._reference_answers() - np.array(expected)).max())
            if difference <= LARGEST_DIFFERENCE:  # False for NaN
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
                f"TensorRT cannot load {path} ({self._last_error}); delete {path.parent} to build it again"
            )
        for value in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            if value not in self._addresses:
                size = math.prod(engine.get_tensor_shape(value)) * engine.get_tensor_dtype(value).itemsize
                self._addresses[value] = self._gpu.allocate(size)
            if not context.set_tensor_address(value, self._addresses[value]):
                raise RuntimeError(f"TensorRT refuses the address of {value} in {path}: {self._last_error}")
        return _Plan(engine, context)

    @property
    def _last_error(self) -> str:
        return str(tensorrt_log(self._tensorrt).last_error)

    def _run(self, graph: str) -> None:
        if not self._plans[graph].context.execute_async_v3(self._gpu.stream):
            raise RuntimeError(f"TensorRT failed in {graph}: {self._last_error}")

    def _fetch(self, value: str, staging: NDArray[Any]) -> None:
        self._gpu.download(self._addresses[value], staging)
        self._gpu.synchronize()

    # A device is current in one thread only, and a node runs its engine in another thread than made it. A staging array
    # may be refilled at once: the later upload follows in the order of the stream and replaces what it disturbed.

    def _take_template(self, template: NDArray[np.uint8]) -> None:
        self._gpu.make_current()
        self._template[:] = template
        self._gpu.upload(self._template, self._addresses["template"])
        self._run("embed_template")

    def _take_search(self, search: NDArray[np.uint8]) -> None:
        self._gpu.make_current()
        self._search[:] = search
        self._gpu.upload(self._search, self._addresses["search"])

    def _run_stage(self, position: int) -> float:
        self._gpu.make_current()
        self._run(f"advance_{position + 1}")
        self._fetch(f"score_{position + 1}", self._score)
        return float(self._score[0])

    def _run_head(self, position: int) -> NDArray[np.float32]:
        self._gpu.make_current()
        self._run(f"locate_{position + 1}")
        self._fetch(f"heat_{position + 1}", self._heat_maps)
        return self._heat_maps.copy()
