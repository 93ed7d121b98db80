"""ONNX Runtime on the CPU: for machines without OpenVINO, and the check of what `export` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from dytrack_ros.engines.onnx_engine import GraphEngine
from dytrack_ros.engines.onnx_graphs import graph_file, graph_names


class OnnxRuntimeEngine(GraphEngine):
    """See :class:`dytrack_ros.engines.registry.Engine`. fp32, whether asked for or not."""

    name = "onnxruntime"

    def _load(self, folder: Path, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Each graph has its own threads: those of one must not spin on the cores that the next one needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions = {
            name: onnxruntime.InferenceSession(graph_file(folder, name), options, providers=["CPUExecutionProvider"])
            for name in graph_names(self.exit_count)
        }
        self._values: dict[str, np.ndarray] = {}

    def _run(self, graph: str) -> None:
        session = self._sessions[graph]
        inputs = {port.name: self._values[port.name] for port in session.get_inputs()}
        names = [port.name for port in session.get_outputs()]
        self._values.update(zip(names, session.run(names, inputs), strict=True))

    def _take_template(self, template: np.ndarray) -> None:
        self._values["template"] = template.copy()
        self._run("embed_template")

    def _take_search(self, search: np.ndarray) -> None:
        self._values["search"] = search.copy()

    def _run_stage(self, position: int) -> float:
        self._run(f"advance_{position + 1}")
        return float(self._values[f"score_{position + 1}"][0])

    def _run_head(self, position: int) -> np.ndarray:
        self._run(f"locate_{position + 1}")
        return self._values[f"box_{position + 1}"][0]
