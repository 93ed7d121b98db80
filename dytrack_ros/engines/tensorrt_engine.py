"""TensorRT on an NVIDIA GPU, for Jetsons: each ONNX graph compiled for one GPU into a plan, in fp16.

It is experimental: it has not run on a GPU yet, so it is used only if it is asked for by name. It is written against
NVIDIA's documentation and the names in its Python modules of TensorRT 10.3, 10.13 and 11.4. At every start it compares
its answers with PyTorch's: there are reports of TensorRT releases that compute vision transformers wrongly in fp16
without an error, 10.3 of JetPack 6 among them (NVIDIA/TensorRT issues 4723 and 4837).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dytrack_ros.engines.base import check_device
from dytrack_ros.engines.cache import cached
from dytrack_ros.engines.onnx_graphs import (
    GraphEngine,
    cached_graphs,
    entry_name,
    graph_file,
    graph_names,
    read_manifest,
    write_manifest,
)
from dytrack_ros.engines.requirements import TENSORRT_ADVICE
from dytrack_ros.model.weight_files import load_config, resolve_weights

# Largest difference of scores and box corners from PyTorch's. Rounding dytrack_small to fp16 changed them by at most
# 0.0031 in 56 pairs of crops (PyTorch on a CPU); overflows and wiring errors change them far more.
LARGEST_DIFFERENCE = 0.02
OLDEST = 10  # the first major version with strongly typed networks; JetPack 6.0 still has 8.6
PLANS_VERSION = 1  # raise it when the plans of the same graphs change
# A Jetson's GPU shares the CPU's memory: without a limit TensorRT tries tactics that need all of it.
WORKSPACE_BYTES = 2**30

_log = logging.getLogger(__name__)


class TensorRTEngine(GraphEngine):
    """Runs the graphs as TensorRT plans on a CUDA device, in memory that PyTorch allocates.

    Each value has one buffer on the GPU, shared by the graph that computes it and those that read it. Precision
    ``auto`` is fp16, or fp32 where this TensorRT computes wrongly in fp16. ``threads`` has no effect.

    Raises:
        ValueError: no such device, or a file that is not one of our weights.
        ImportError: TensorRT is missing or too old, or PyTorch finds no CUDA device.
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
        if not torch.cuda.is_available():
            raise ImportError("engine 'tensorrt' needs PyTorch with CUDA, which finds no GPU here")
        _log.warning("engine 'tensorrt' is experimental: it has not been tested on a GPU; 'auto' never chooses it")
        path = resolve_weights(weights)
        super().__init__(load_config(path))
        self._device = torch.device("cuda", int(device.partition(":")[2] or 0))
        self.device = str(self._device)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._logger = self._tensorrt.Logger(self._tensorrt.Logger.WARNING)
        for tried in ("fp16", "fp32") if precision == "auto" else ("fp32",):
            with self._cached_plans(path, tried) as folder, torch.cuda.device(self._device):
                self._load(folder)
                expected = read_manifest(folder)["reference_answers"]
            difference = float(np.abs(self._reference_answers() - np.array(expected)).max())
            if difference <= LARGEST_DIFFERENCE:  # False for NaN
                self.precision = tried
                return
            complaint = (
                f"TensorRT {self._tensorrt.__version__} computes scores or boxes in {tried} that differ from PyTorch's "
                f"by {difference:.2g} (allowed is {LARGEST_DIFFERENCE})"
            )
            _log.warning("%s", complaint)
        raise RuntimeError(f"{complaint}: use another engine")

    def _cached_plans(self, weights: Path, precision: str) -> contextlib.AbstractContextManager[Path]:
        """Give the folder of the plans, which run on this GPU model with this TensorRT only; build it in minutes."""
        gpu = re.sub(r"[^A-Za-z0-9]+", "_", torch.cuda.get_device_name(self._device))

        def write(folder: Path) -> None:
            _log.info("building the TensorRT plans of %s for %s, once; this takes minutes", weights, gpu)
            with cached_graphs(weights, precision) as graphs, torch.cuda.device(self._device):
                build_plans(self._tensorrt, self._logger, graphs, folder)

        name = f"{entry_name(weights, precision)}-{PLANS_VERSION}-tensorrt_{self._tensorrt.__version__}-{gpu}"
        return cached("plans", name, write, read_manifest)

    def _load(self, folder: Path) -> None:
        runtime = self._tensorrt.Runtime(self._logger)
        self._buffers: dict[str, Tensor] = {}
        self._contexts: dict[str, Any] = {}
        for name in graph_names(self.exit_count):
            engine = runtime.deserialize_cuda_engine(plan_file(folder, name).read_bytes())
            context = engine and engine.create_execution_context()
            if context is None:
                raise RuntimeError(f"TensorRT cannot load {plan_file(folder, name)}: delete {folder} to build it again")
            for value in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
                if value not in self._buffers:
                    size = math.prod(engine.get_tensor_shape(value)) * engine.get_tensor_dtype(value).itemsize
                    self._buffers[value] = torch.empty(size, dtype=torch.uint8, device=self._device)
                context.set_tensor_address(value, self._buffers[value].data_ptr())
            self._contexts[name] = context
        self._runtime = runtime  # must outlive its engines

    def _put(self, value: str, crop: NDArray[np.uint8]) -> None:
        with torch.cuda.stream(self._stream):
            self._buffers[value].copy_(torch.from_numpy(np.ascontiguousarray(crop)).flatten())

    def _run(self, graph: str) -> None:
        with torch.cuda.device(self._device):  # it is current in one thread only, and a node's worker is another one
            if not self._contexts[graph].execute_async_v3(self._stream.cuda_stream):
                raise RuntimeError(f"TensorRT failed in {graph}")

    def _get(self, value: str) -> NDArray[Any]:
        with torch.cuda.stream(self._stream):
            return self._buffers[value].view(torch.float32).cpu().numpy()


def import_tensorrt() -> ModuleType:
    """Import TensorRT. Raises ImportError where it is missing, broken or too old."""
    try:
        tensorrt = importlib.import_module("tensorrt")
        major = int(tensorrt.__version__.partition(".")[0])
    except (ImportError, OSError, AttributeError) as error:
        raise ImportError(f"engine 'tensorrt' cannot be loaded ({error}); it needs {TENSORRT_ADVICE}") from None
    if major < OLDEST:
        raise ImportError(f"TensorRT {tensorrt.__version__} is too old; engine 'tensorrt' needs {TENSORRT_ADVICE}")
    return tensorrt


def plan_file(folder: Path, graph: str) -> Path:
    """Return the file of a graph's plan."""
    return folder / f"{graph}.plan"


def build_plans(tensorrt: ModuleType, logger: Any, graphs: Path, folder: Path) -> None:
    """Compile a folder of graphs for the current GPU into ``folder``, and write its manifest. Raises RuntimeError."""
    facts = read_manifest(graphs)
    names = [Path(file).stem for file in facts.pop("files")]
    builder = tensorrt.Builder(logger)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    for name in names:
        # Strongly typed: each layer computes in the type that its graph says, as `dytrack export` has checked. The
        # alternative, a flag that permits fp16 anywhere, was removed in TensorRT 11.
        network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = tensorrt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(graph_file(graphs, name))):
            errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
            raise RuntimeError(f"TensorRT {tensorrt.__version__} cannot read {graph_file(graphs, name)}: {errors}")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RuntimeError(f"TensorRT {tensorrt.__version__} cannot build {name}; its log says why")
        plan_file(folder, name).write_bytes(plan)
    write_manifest(folder, [plan_file(folder, name) for name in names], {**facts, "tensorrt": tensorrt.__version__})
