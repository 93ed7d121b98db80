"""PyTorch, eager: the reference that the other engines are checked against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dytrack_ros.engines.staged_engine import StagedEngine
from dytrack_ros.model.dytrack import normalize
from dytrack_ros.model.weights import load_weights


class TorchEngine(StagedEngine):
    """See :class:`dytrack_ros.engines.engine.Engine`. fp32 on a CPU, fp16 on a CUDA device."""

    name = "torch"

    def __init__(self, weights: str | Path, device: str = "auto", threads: int | None = None):
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads:
            torch.set_num_threads(threads)
        try:
            self._device = torch.device(device)
        except RuntimeError:
            raise ValueError(f"device {device!r} must be auto, cpu or cuda[:N]") from None
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} was asked for, but PyTorch finds no CUDA device; use 'cpu' or 'auto'")
        self.device = str(self._device)
        self._type = torch.float16 if self._device.type == "cuda" else torch.float32
        self._model = load_weights(weights).fuse().to(self._device, self._type).requires_grad_(False)
        super().__init__(self._model.config)
        self._warm_up()

    def _image(self, crop: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(crop)).to(self._device)
        return normalize(pixels.permute(2, 0, 1)[None].float()).to(self._type)

    @torch.inference_mode()
    def _take_template(self, template: np.ndarray) -> None:
        self._template_tokens = self._model.embedding.embed_template(self._image(template))

    @torch.inference_mode()
    def _take_search(self, search: np.ndarray) -> None:
        embedding = self._model.embedding
        self._tokens = embedding.join(self._template_tokens, embedding.embed_search(self._image(search)))
        self._recycled: Tensor | None = None

    @torch.inference_mode()
    def _run_stage(self, position: int) -> float:
        self._tokens = self._model.stage(position, self._tokens)
        self._recycled, score = self._model.decide(position, self._tokens, self._recycled)
        return float(score)

    @torch.inference_mode()
    def _run_head(self, position: int) -> np.ndarray:
        return self._model.locate(position, self._recycled)[0].cpu().numpy()
