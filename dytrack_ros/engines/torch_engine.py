"""PyTorch, eager: the reference that the other engines are checked against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dytrack_ros.engines.engine import check_crop
from dytrack_ros.model.dytrack import normalize
from dytrack_ros.model.weights import load_weights


class TorchEngine:
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
        config = self._model.config
        self.exit_count = self._model.exit_count
        self.template_size, self.search_size = config.template_size, config.search_size
        self.template_factor, self.search_factor = config.template_factor, config.search_factor
        self._template_tokens: Tensor | None = None
        self._reset_frame()
        self._warm_up()

    def _reset_frame(self) -> None:
        self._tokens: Tensor | None = None
        self._recycled: Tensor | None = None
        self._reached = 0

    def _warm_up(self) -> None:
        self.set_template(np.zeros((self.template_size, self.template_size, 3), np.uint8))
        self.begin(np.zeros((self.search_size, self.search_size, 3), np.uint8))
        for _ in range(self.exit_count):
            self.advance()
            self.locate()
        self._template_tokens = None
        self._reset_frame()

    def _image(self, crop: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(crop)).to(self._device)
        return normalize(pixels.permute(2, 0, 1)[None].float()).to(self._type)

    @torch.inference_mode()
    def set_template(self, template: np.ndarray) -> None:
        check_crop(template, self.template_size, "template")
        self._template_tokens = self._model.embedding.embed_template(self._image(template))
        self._reset_frame()

    @torch.inference_mode()
    def begin(self, search: np.ndarray) -> None:
        check_crop(search, self.search_size, "search region")
        if self._template_tokens is None:
            raise RuntimeError("begin() before set_template(): there is no target yet")
        self._reset_frame()
        embedding = self._model.embedding
        self._tokens = embedding.join(self._template_tokens, embedding.embed_search(self._image(search)))

    @torch.inference_mode()
    def advance(self) -> float:
        if self._tokens is None:
            raise RuntimeError("advance() before begin(): there is no search region yet")
        if self._reached == self.exit_count:
            raise RuntimeError(f"advance() after the last exit ({self.exit_count}): call begin() for the next frame")
        self._tokens = self._model.stage(self._reached, self._tokens)
        self._recycled, score = self._model.decide(self._reached, self._tokens, self._recycled)
        self._reached += 1
        return float(score)

    @torch.inference_mode()
    def locate(self) -> np.ndarray:
        if self._reached == 0:
            raise RuntimeError("locate() before advance(): no exit has been reached yet")
        return self._model.locate(self._reached - 1, self._recycled)[0].cpu().numpy()
