"""OpenVINO on the CPU: the fastest engine without a GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from dytrack_ros.engines.onnx_graphs import OnnxGraphEngine, graph_file, graph_names, int8_file, value_names

_log = logging.getLogger(__name__)

# One frame at a time on all threads. Threads are not pinned to cores: a robot's cores have other work too.
# Compiled models are not cached: on a CPU loading one took as long as compiling its graph (0.4 s for a stage of ViT-S).
SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
FP32 = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVINOEngine(OnnxGraphEngine):
    """Runs the graphs in OpenVINO on the CPU.

    Each value has one tensor, shared by the graph that computes it and those that read it; nothing is copied between
    graphs. With precision ``auto`` OpenVINO computes in bf16 where the chip does (AMX, AVX512-BF16), else in fp32; also
    in fp32 where it cannot compile the graphs for bf16, as with ``ONEDNN_MAX_CPU_ISA=AVX2``. With ``int8`` the layers
    that ``quantise`` leaves unquantised are computed as with ``auto``.
    """

    name = "openvino"

    def _load(self, folder: Path, threads: int | None) -> None:
        settings: dict[str, Any] = dict(SETTINGS)
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        if self.precision == "fp32":
            settings |= FP32
        try:
            self._compile(folder, settings)
        except RuntimeError as error:
            if self.precision == "fp32":
                raise
            _log.warning("openvino computes in fp32, since it failed in the chip's own precision: %s", error)
            self._compile(folder, settings | FP32)
            if self.precision == "auto":
                self.precision = "fp32"

    def _compile(self, folder: Path, settings: dict[str, Any]) -> None:
        core = ov.Core()
        self._requests: dict[str, ov.InferRequest] = {}
        self._tensors: dict[str, ov.Tensor] = {}
        values = value_names(self.exit_count)
        for name in graph_names(self.exit_count):
            file = (int8_file if self.precision == "int8" else graph_file)(folder, name)
            request = core.compile_model(file, "CPU", settings).create_infer_request()
            for port in [*request.model_inputs, *request.model_outputs]:
                # A tensor of two nodes that OpenVINO has merged has the names of both; one of them is ours.
                (value,) = port.names & values
                request.set_tensor(port, self._tensors.setdefault(value, ov.Tensor(port.element_type, port.shape)))
            self._requests[name] = request

    def _run(self, graph: str) -> None:
        self._requests[graph].infer(share_outputs=True)

    def _put(self, value: str, crop: NDArray[np.uint8]) -> None:
        self._tensors[value].data[:] = crop

    def _get(self, value: str) -> NDArray[Any]:
        array: NDArray[Any] = self._tensors[value].data.copy()
        return array
