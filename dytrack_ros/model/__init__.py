"""The network of DyTrack (Zhu et al., TNNLS 36(8), 2025, arXiv 2403.17651): pure torch, no I/O beyond weights."""

from dytrack_ros.model.dytrack import DyTrack, ExitOutput
from dytrack_ros.model.presets import PRESETS, DyTrackConfig, preset
from dytrack_ros.model.weights import load_encoder, load_weights, save_weights

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
