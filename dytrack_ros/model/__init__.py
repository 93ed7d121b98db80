"""The network of DyTrack (Zhu et al., TNNLS 36(8), 2025, arXiv 2403.17651): pure torch, no I/O beyond weights.

The names below are imported when first used: an engine that reads only a configuration never imports torch.
"""

import importlib

_MODULES = {
    "PRESETS": "presets",
    "DyTrack": "dytrack",
    "DyTrackConfig": "presets",
    "ExitOutput": "dytrack",
    "load_encoder": "weights",
    "load_weights": "weights",
    "preset": "presets",
    "save_weights": "weights",
}

__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
