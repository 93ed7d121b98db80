"""Random numbers for the members of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Draws for each of ``batch`` members; in the order of the calls, from ``generator``."""

    batch: int
    generator: torch.Generator
    device: torch.device

    def share(self, *shape: int) -> Tensor:
        """In [0, 1), (B, *shape)."""
        return torch.rand(self.batch, *shape, generator=self.generator, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        """In [-1, 1), (B, *shape)."""
        return self.share(*shape) * 2 - 1

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.batch, *shape, generator=self.generator, device=self.device)

    def chance(self, probability: float) -> Tensor:
        """True with that probability, bool (B,)."""
        return self.share() < probability


def each(chosen: Tensor) -> Tensor:
    """A boolean of each member (B,), for all pixels of its crop."""
    return chosen[:, None, None, None]
