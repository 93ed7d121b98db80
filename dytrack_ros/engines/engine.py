"""The contract of an engine, and the choice of one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

ENGINES = ("auto", "torch")


class Engine(Protocol):
    """Runs the network on one search region at a time; weights loaded and warmed up.

    ``set_template``, then for every frame ``begin``, ``advance`` once or more, ``locate``. Calls out of order raise
    RuntimeError, crops of a wrong size or type ValueError.
    """

    name: str
    device: str
    exit_count: int
    template_size: int
    search_size: int
    template_factor: float
    search_factor: float

    def set_template(self, template: np.ndarray) -> None:
        """Takes the target's picture: uint8 RGB, ``template_size`` square, HxWx3."""
        ...

    def begin(self, search: np.ndarray) -> None:
        """Takes a frame's search region: uint8 RGB, ``search_size`` square, HxWx3."""
        ...

    def advance(self) -> float:
        """Runs the next stage and returns its exit's predicted IoU in [0, 1]."""
        ...

    def locate(self) -> np.ndarray:
        """Runs the box head of the exit reached: (x1, y1, x2, y2) float32 in [0, 1] of the search region."""
        ...


def create_engine(name: str, weights: str | Path, device: str = "auto", threads: int | None = None) -> Engine:
    """The engine called ``name`` with these weights (a shipped name or a path), loaded and warmed up.

    ``auto`` is the best one present. ``device`` is ``auto``, ``cpu`` or ``cuda[:N]``; ``threads`` the CPU threads
    (None: the library's default). Raises ValueError for an unknown name, ImportError where its library is missing.
    """
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    from dytrack_ros.engines.torch_engine import TorchEngine

    return TorchEngine(weights, device, threads)


def check_crop(crop: np.ndarray, size: int, what: str) -> None:
    """Raises ValueError unless ``crop`` is a uint8 array of (size, size, 3)."""
    if crop.shape != (size, size, 3) or crop.dtype != np.uint8:
        raise ValueError(f"{what} must be uint8 RGB of {size}x{size}x3, not {crop.dtype} {crop.shape}")
