"""DyTrack, an early-exit vision-transformer tracker, on robots.

The names below are imported on first use, so ``import dytrack_ros`` itself loads neither numpy nor an engine.
"""

import importlib
from typing import Any

from dytrack_ros.version import __version__

_MODULES = {
    "DyTracker": "tracking",
    "TrackerConfig": "tracking",
    "TrackResult": "tracking",
    "TrackState": "tracking",
    "FixedThresholds": "policies",
    "FixedExit": "policies",
    "RandomExit": "policies",
    "FrameBudget": "policies",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
