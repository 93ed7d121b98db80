"""DyTrack, an early-exit vision-transformer tracker, on robots."""

from dytrack_ros.version import __version__

__all__ = ["__version__"]
