"""The source of the frame budget: a rate, milliseconds, or the camera's own period."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from dytrack_ros.policies.frame_budget import MAX_BUDGET_S, MIN_BUDGET_S

MODES = ("camera", "rate", "milliseconds", "unlimited")


class CameraPeriod:
    """Measures the camera's period from image stamps.

    It is the median of the last ``window`` positive steps, so lost frames, bursts and time jumps do not move it. It is
    known after ``needed`` steps.
    """

    def __init__(self, window: int = 31, needed: int = 5):
        self._steps: deque[float] = deque(maxlen=window)
        self._needed = needed
        self._last_s: float | None = None

    def observe(self, stamp_s: float) -> None:
        """Take the stamp of a received image, seconds. A stamp that does not increase only starts the next step."""
        if self._last_s is not None and stamp_s > self._last_s:
            self._steps.append(stamp_s - self._last_s)
        self._last_s = stamp_s

    def restart(self) -> None:
        """Forget the camera, for instance after a time jump."""
        self._steps.clear()
        self._last_s = None

    @property
    def seconds(self) -> float | None:
        """The period; None until it is known."""
        return median(self._steps) if len(self._steps) >= self._needed else None


class CameraPace:
    """Chooses how many camera periods a frame gets: the least number in which the first exit is done.

    The newest image is always taken next, so a frame that ends between two arrivals only waits; hence a whole number.
    It changes only after ``patience`` consecutive updates that ask for a change, and decreases only if that leaves
    ``margin`` of the time to spare. The first update takes effect at once.
    """

    def __init__(self, margin: float = 0.15, patience: int = 8):
        if not 0 <= margin < 1:
            raise ValueError(f"margin is {margin}; it must lie in [0, 1)")
        if not patience >= 1:
            raise ValueError(f"patience is {patience}; it must be at least 1 update")
        self.frames = 1
        self._margin, self._patience = margin, patience
        self._requests = patience  # consecutive ones; the first update may change at once

    def update(self, needed_s: float, period_s: float) -> int:
        """Return ``frames`` for the least time of a frame and the usable part of a period, both in seconds."""
        wanted = _periods(needed_s, period_s)
        if wanted < self.frames:
            wanted = min(_periods(needed_s, period_s * (1 - self._margin)), self.frames)
        self._requests = self._requests + 1 if wanted != self.frames else 0
        if self._requests >= self._patience:
            self.frames, self._requests = wanted, 0
        return self.frames


def _periods(needed_s: float, period_s: float) -> int:
    return max(math.ceil(needed_s / period_s - 1e-9), 1)


class Overhead:
    """Mean seconds of a frame outside the tracker (decoding, publishing), over about ``memory`` frames."""

    def __init__(self, memory: int = 30):
        if not memory >= 1:
            raise ValueError(f"memory is {memory}; it must be at least 1 frame")
        self.seconds = 0.0
        self._memory = memory
        self._seen = 0

    def observe(self, seconds: float) -> None:
        """Take one frame's overhead; negative and infinite values are ignored."""
        if math.isfinite(seconds) and seconds >= 0:
            self._seen = min(self._seen + 1, self._memory)
            self.seconds += (seconds - self.seconds) / self._seen


@dataclass(frozen=True)
class BudgetSource:
    """How the tracker's budget is set.

    Attributes:
        mode: ``milliseconds``: the tracker's own time a frame; ``rate``: ``rate_hz`` frames a second, overhead
            included; ``camera``: the camera's period times ``headroom``, overhead included; ``unlimited``: no budget.

    Raises ValueError for another mode and for numbers that are not positive.
    """

    mode: str = "camera"
    rate_hz: float = 30.0
    milliseconds: float = 33.0
    headroom: float = 0.9

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"budget mode {self.mode!r} must be one of {', '.join(MODES)}")
        numbers = {"rate_hz": self.rate_hz, "milliseconds": self.milliseconds, "headroom": self.headroom}
        for name, value in numbers.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be positive")

    def budget_s(
        self,
        period_s: float | None,
        overhead_s: float = 0.0,
        first_exit_s: float | None = None,
        pace: CameraPace | None = None,
    ) -> float | None:
        """Return the seconds that ``track`` may take, in FrameBudget's range, or None for no budget.

        Args:
            period_s: the camera's period; None (no budget in mode ``camera``): not known yet.
            overhead_s: a frame's time outside ``track``.
            first_exit_s: the cost of the first exit; None: unknown.
            pace: in mode ``camera``, keeps the number of periods that a frame gets.
        """
        if self.mode == "milliseconds":
            return _in_range(self.milliseconds * 1e-3)
        if self.mode == "rate":
            return _in_range(1 / self.rate_hz - overhead_s)
        if self.mode == "camera" and period_s is not None:
            usable_s = period_s * self.headroom
            frames = (pace or CameraPace()).update(overhead_s + (first_exit_s or 0.0), usable_s)
            return _in_range(frames * usable_s - overhead_s)
        return None


def _in_range(seconds: float) -> float:
    return min(max(seconds, MIN_BUDGET_S), MAX_BUDGET_S)
