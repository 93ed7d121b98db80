"""OpenVINO on the CPU: the fastest engine without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov

from dytrack_ros.engines.onnx_engine import GraphEngine
from dytrack_ros.engines.onnx_graphs import graph_file, graph_names, int8_file, value_names

# One frame at a time on all threads. Threads are not tied to cores, since a robot's cores have other work too.
# Compiled models are not cached: on a CPU that measured no faster than compiling the graphs (0.4 s a stage of ViT-S).
SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}


class OpenVINOEngine(GraphEngine):
    """See :class:`dytrack_ros.engines.registry.Engine`.

    Each value has one tensor, shared by the graph that makes it and those that need it: nothing is copied between them.
    ``precision`` ``auto`` is left to OpenVINO: bf16 where the chip computes in it (AMX, AVX512-BF16), else fp32. With ``int8``
    the graphs are those of ``quantise``; what they leave unquantised is computed as in ``auto``.
    """

    name = "openvino"

    def _load(self, folder: Path, threads: int | None) -> None:
        settings = dict(SETTINGS)
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        if self.precision == "fp32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        core = ov.Core()
        self._requests: dict[str, ov.InferRequest] = {}
        self._tensors: dict[str, ov.Tensor] = {}
        values = value_names(self.exit_count)
        for name in graph_names(self.exit_count):
            file = (int8_file if self.precision == "int8" else graph_file)(folder, name)
            request = core.compile_model(file, "CPU", settings).create_infer_request()
            for port in [*request.model_inputs, *request.model_outputs]:
                # Where OpenVINO has merged two nodes their tensor goes by the names of both: ours is one of them.
                (value,) = port.names & values
                request.set_tensor(port, self._tensors.setdefault(value, ov.Tensor(port.element_type, port.shape)))
            self._requests[name] = request

    def _run(self, graph: str) -> None:
        self._requests[graph].infer(share_outputs=True)

    def _take_template(self, template: np.ndarray) -> None:
        self._tensors["template"].data[:] = template
        self._run("embed_template")

    def _take_search(self, search: np.ndarray) -> None:
        self._tensors["search"].data[:] = search

    def _run_stage(self, position: int) -> float:
        self._run(f"advance_{position + 1}")
        return float(self._tensors[f"score_{position + 1}"].data[0])

    def _run_head(self, position: int) -> np.ndarray:
        self._run(f"locate_{position + 1}")
        return self._tensors[f"box_{position + 1}"].data[0].copy()
