"""Mapping of pixel values with more than 8 bits (thermal cameras, 10 to 16 bit sensors, float images) to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]

# Percentiles of an image that become 0 and 255: they leave out dead and hot pixels.
_PERCENTILES = (1.0, 99.9)
# Share of the difference to a new image's range that is taken over: a range of 100 frames ago counts for 13 %.
ADAPTATION = 0.02
# Fewer grey levels between the percentiles than this are reported.
MIN_GREY_LEVELS = 32
# Values along each side of an image that are sampled to find its range.
_SAMPLES = 128


class ValueRange:
    """The range of values that is mapped to 0 to 255, found in the first image and adapted slowly to later ones.

    One object belongs to one target, so that the target's grey values stay comparable.

    Attributes:
        fixed: (low, high) to use instead of the range found, or None.
    """

    def __init__(self, fixed: Range | None = None, report: Callable[[str], None] = lambda sentence: None) -> None:
        """`report` takes a sentence about each image with fewer than MIN_GREY_LEVELS grey levels."""
        self.fixed = fixed
        self._report = report
        self._found: Range | None = None

    def renewed(self) -> ValueRange:
        """Return a range for a new target, with the same settings."""
        return ValueRange(self.fixed, self._report)

    def update(self, values: NDArray[Any]) -> Range:
        """Take the values of the next image, (height, width[, channels]), and return the range (low < high) for it."""
        found = find_range(values)
        if self._found is None:
            self._found = found
        else:
            low, high = (old + ADAPTATION * (new - old) for old, new in zip(self._found, found, strict=True))
            self._found = (low, high)
        low, high = self.fixed or self._found
        levels = (min(found[1], high) - max(found[0], low)) * _scale((low, high))
        if values.dtype.kind != "f":
            levels = min(levels, found[1] - found[0])
        if levels < MIN_GREY_LEVELS:
            self._report(
                f"the values {found[0]:g} to {found[1]:g} of an image give {max(levels, 0):.0f} grey levels in the "
                f"range {low:g} to {high:g}, too few to track by; change image.range or the camera's output range"
            )
        return low, high


def find_range(values: NDArray[Any]) -> Range:
    """Return the 1 % and 99.9 % percentiles (low < high) of the finite values in a sample of an image's pixels."""
    # Odd steps meet every colour of a Bayer pattern.
    row_step, column_step = (max(size // _SAMPLES, 1) | 1 for size in values.shape[:2])
    with np.errstate(invalid="ignore"):  # floats may be anything
        sample = values[::row_step, ::column_step].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, _PERCENTILES) if sample.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + max(1.0, abs(low)))


def to_8_bit(values: NDArray[Any], value_range: Range) -> NDArray[np.uint8]:
    """Map values of any number type to uint8: the range (low, high) to 0 to 255, values outside and NaN to its ends."""
    with np.errstate(invalid="ignore", over="ignore"):  # floats may be anything
        scaled = values.astype(np.float32)
        scaled -= np.float32(value_range[0])
        scaled *= np.float32(_scale(value_range))
        scaled += np.float32(0.5)
        np.clip(scaled, 0, 255, out=scaled)
    if values.dtype.kind == "f":
        scaled[np.isnan(scaled)] = 0
    return scaled.astype(np.uint8)


def _scale(value_range: Range) -> float:
    low, high = value_range
    return 255 / max(high - low, 1e-30)
