"""ONNX Runtime on the CPU: for machines without OpenVINO, and to check the graphs that ``dytrack export`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dytrack_ros.engines.onnx_graphs import OnnxGraphEngine, graph_file, graph_names


class OnnxRuntimeEngine(OnnxGraphEngine):
    """Runs the graphs in ONNX Runtime on the CPU; it always computes in fp32."""

    name = "onnxruntime"

    def _load(self, folder: Path, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Each graph has threads of its own: they must not spin on the cores that the next graph needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions = {
            name: onnxruntime.InferenceSession(graph_file(folder, name), options, providers=["CPUExecutionProvider"])
            for name in graph_names(self.exit_count)
        }
        self._values: dict[str, NDArray[Any]] = {}

    def _run(self, graph: str) -> None:
        session = self._sessions[graph]
        inputs = {port.name: self._values[port.name] for port in session.get_inputs()}
        names = [port.name for port in session.get_outputs()]
        self._values.update(zip(names, session.run(names, inputs), strict=True))

    def _put(self, value: str, crop: NDArray[np.uint8]) -> None:
        self._values[value] = crop.copy()

    def _get(self, value: str) -> NDArray[Any]:
        return self._values[value]  # made anew by each run
