"""DyTrack, an early-exit vision-transformer tracker, on robots."""

__version__ = "0.1.0"
