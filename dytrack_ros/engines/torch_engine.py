"""PyTorch: the reference that the other engines are checked against, and the engine for CUDA devices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dytrack_ros.engines.base import StagedEngine
from dytrack_ros.engines.cuda_graphs import record
from dytrack_ros.engines.onnx_graphs import reference_crop
from dytrack_ros.engines.torch_steps import TorchSteps
from dytrack_ros.model.weights import load_weights

# How far the answers of recorded steps may lie from those of the same steps run one kernel at a time, in fp16.
TOLERANCE = 0.01

Steps = dict[str, Callable[[], None]]

_log = logging.getLogger(__name__)


class TorchEngine(StagedEngine):
    """See :class:`dytrack_ros.engines.registry.Engine`. fp32 on a CPU; fp16 on a CUDA device if not ``fp32`` is asked for,
    as CUDA graphs.

    Recorded steps are compared with eager ones at the start; where they cannot be recorded or answer otherwise, the eager
    ones stay in use and the log says why. ``graphs``: whether to record at all.
    """

    name = "torch"

    def __init__(
        self,
        weights: str | Path,
        device: str = "auto",
        threads: int | None = None,
        graphs: bool = True,
        precision: str = "auto",
    ):
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads:
            torch.set_num_threads(threads)
        try:
            self._device = torch.device(device)
        except RuntimeError:
            raise ValueError(f"device {device!r} must be auto, cpu or cuda[:N]") from None
        on_gpu = self._device.type == "cuda"
        if on_gpu and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} was asked for, but PyTorch finds no CUDA device; use 'cpu' or 'auto'")
        self.device = str(self._device)
        self.precision = precision
        dtype = torch.float16 if on_gpu and precision == "auto" else torch.float32
        model = load_weights(weights).fuse().to(self._device, dtype).requires_grad_(False)
        super().__init__(model.config)
        self._buffers = TorchSteps(model, self._device, dtype)
        self._steps = self._buffers.by_name()
        if on_gpu and graphs:
            self._use_recorded(record)
        self._warm_up()

    def _use_recorded(self, recorder: Callable[[Steps, torch.device], Steps]) -> None:
        """Puts the steps that ``recorder`` makes of the eager ones in their place if they answer alike."""
        eager = self._steps
        expected = self._reference_answers()
        try:
            self._steps = recorder(eager, self._device)
            furthest = float(np.abs(self._reference_answers() - expected).max())
        except RuntimeError as error:
            self._steps = eager
            _log.warning("CUDA graphs are not used, they could not be recorded: %s", error)
            return
        if not furthest <= TOLERANCE:
            self._steps = eager
            _log.warning("CUDA graphs are not used, their answers differ by %.3g from those without them", furthest)

    def _reference_answers(self) -> np.ndarray:
        """Score and box at every exit, on made-up crops: (exits, 5)."""
        self.set_template(reference_crop(self.template_size))
        self.begin(reference_crop(self.search_size))
        return np.array([[self.advance(), *self.locate()] for _ in range(self.exit_count)])

    def _take_template(self, template: np.ndarray) -> None:
        self._buffers.template.take(template)
        self._steps["template"]()

    def _take_search(self, search: np.ndarray) -> None:
        self._buffers.search.take(search)

    def _run_stage(self, position: int) -> float:
        self._steps[f"advance_{position + 1}"]()
        return self._buffers.score.item()

    def _run_head(self, position: int) -> np.ndarray:
        self._steps[f"locate_{position + 1}"]()
        return self._buffers.box.cpu().numpy().copy()
