"""The network of DyTrack (Zhu et al., TNNLS 36(8), 2025, arXiv 2403.17651): pure torch, and no I/O but weights.

What needs torch is imported on first use: an engine that reads only a configuration never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dytrack_ros.model.presets import PRESETS, DyTrackConfig, preset

if TYPE_CHECKING:
    from dytrack_ros.model.dytrack import DyTrack, ExitOutput
    from dytrack_ros.model.weights import load_encoder, load_weights, save_weights

_MODULES = {
    "DyTrack": "dytrack",
    "ExitOutput": "dytrack",
    "load_encoder": "weights",
    "load_weights": "weights",
    "save_weights": "weights",
}

__all__ = [
    "PRESETS",
    "DyTrack",
    "DyTrackConfig",
    "ExitOutput",
    "load_encoder",
    "load_weights",
    "preset",
    "save_weights",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
