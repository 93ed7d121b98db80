"""The network as steps that work in place, on buffers that stay where they are: what a CUDA graph can record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dytrack_ros.model.dytrack import DyTrack, normalize


class CropBuffer:
    """``pixels`` (size, size, 3) uint8 on the device, filled from arrays of that shape. On a CUDA device by way of
    page-locked memory: the upload is queued, and the next one may follow when something that came after has been read."""

    def __init__(self, size: int, device: torch.device):
        self.pixels = torch.zeros(size, size, 3, dtype=torch.uint8, device=device)
        self._staging = torch.empty_like(self.pixels, device="cpu").pin_memory() if self.pixels.is_cuda else None

    def take(self, crop: np.ndarray) -> None:
        crop = torch.from_numpy(np.ascontiguousarray(crop))
        if self._staging is not None:
            crop = self._staging.copy_(crop)
        self.pixels.copy_(crop, non_blocking=True)


class TorchSteps:
    """``template``, ``advance_1`` ... and ``locate_1`` ... by name (exits count from 1), each a function without arguments.

    ``template`` and ``search`` take the crops; ``score`` (1,) and ``box`` (4,) float32 hold the answers. ``advance_k`` needs
    ``advance_{k-1}`` before it, ``locate_k`` the exit that was reached last.
    """

    def __init__(self, model: DyTrack, device: torch.device, dtype: torch.dtype):
        config = model.config
        self._model, self._dtype = model, dtype

        def buffer(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self.template = CropBuffer(config.template_size, device)
        self.search = CropBuffer(config.search_size, device)
        self.score, self.box = buffer(1, dtype=torch.float32), buffer(4, dtype=torch.float32)
        self._template_tokens = buffer(1, config.template_tokens, config.width)
        self._tokens, self._recycled = (buffer(1, config.tokens, config.width) for _ in range(2))

    def by_name(self) -> dict[str, Callable[[], None]]:
        """All steps, each after those that it needs."""
        steps: dict[str, Callable[[], None]] = {"template": self._take_template}
        for position in range(self._model.exit_count):
            steps[f"advance_{position + 1}"] = lambda position=position: self._advance(position)
            steps[f"locate_{position + 1}"] = lambda position=position: self._locate(position)
        return steps

    def _image(self, pixels: Tensor) -> Tensor:
        return normalize(pixels.permute(2, 0, 1)[None].float()).to(self._dtype)

    @torch.inference_mode()
    def _take_template(self) -> None:
        self._template_tokens.copy_(self._model.embedding.embed_template(self._image(self.template.pixels)))

    @torch.inference_mode()
    def _advance(self, position: int) -> None:
        tokens = self._tokens
        if position == 0:
            embedding = self._model.embedding
            tokens = embedding.join(self._template_tokens, embedding.embed_search(self._image(self.search.pixels)))
        tokens = self._model.stage(position, tokens)
        recycled, score = self._model.decide(position, tokens, self._recycled if position else None)
        if position + 1 < self._model.exit_count:
            self._tokens.copy_(tokens)
        self._recycled.copy_(recycled)
        self.score.copy_(score)

    @torch.inference_mode()
    def _locate(self, position: int) -> None:
        self.box.copy_(self._model.locate(position, self._recycled)[0])
