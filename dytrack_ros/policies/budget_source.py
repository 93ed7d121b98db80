"""Where the budget comes from: a rate, milliseconds, or the camera's own period."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from dytrack_ros.policies.frame_budget import MAX_BUDGET_S, MIN_BUDGET_S

MODES = ("camera", "rate", "milliseconds", "unlimited")


class CameraPeriod:
    """The camera's period from its image stamps: the median of the last ``window`` steps forward, so that lost frames,
    bursts and jumps of time do not move it."""

    def __init__(self, window: int = 31, needed: int = 5):
        self._steps: deque[float] = deque(maxlen=window)
        self._needed = needed
        self._last_s: float | None = None

    def observe(self, stamp_s: float) -> None:
        """Takes the stamp of every image received, in seconds; one that does not go forward only starts anew."""
        if self._last_s is not None and stamp_s > self._last_s:
            self._steps.append(stamp_s - self._last_s)
        self._last_s = stamp_s

    def restart(self) -> None:
        """Forgets everything: another camera, or time has jumped."""
        self._steps.clear()
        self._last_s = None

    @property
    def seconds(self) -> float | None:
        """The period; None until enough images have come."""
        return median(self._steps) if len(self._steps) >= self._needed else None


class CameraPace:
    """How many camera periods a frame gets: with the newest frame always taken next, hurrying to the end of any other
    moment than the arrival of a frame would only end in waiting.

    ``frames`` is the least number that is long enough for the first exit. It must not waver where the first exit takes
    about one period: it changes only after ``patience`` updates in a row have called for a change, and to a smaller
    number only if that leaves ``margin`` of itself over.
    """

    def __init__(self, margin: float = 0.15, patience: int = 8):
        if not 0 <= margin < 1:
            raise ValueError(f"margin is {margin}; it must lie in [0, 1)")
        if not patience >= 1:
            raise ValueError(f"patience is {patience}; it must be at least 1 update")
        self.frames = 1
        self._margin, self._patience = margin, patience
        self._calls = patience  # for a change; the first update may make one at once

    def update(self, needed_s: float, period_s: float) -> int:
        """``frames``, given what a frame needs at least and the usable part of a period, both in seconds."""
        wanted = _periods(needed_s, period_s)
        if wanted < self.frames:
            wanted = min(_periods(needed_s, period_s * (1 - self._margin)), self.frames)
        self._calls = self._calls + 1 if wanted != self.frames else 0
        if self._calls >= self._patience:
            self.frames, self._calls = wanted, 0
        return self.frames


def _periods(needed_s: float, period_s: float) -> int:
    return max(math.ceil(needed_s / period_s - 1e-9), 1)


class Overhead:
    """Mean seconds that a frame takes beside the tracker (decoding, publishing), over about ``memory`` frames."""

    def __init__(self, memory: int = 30):
        if not memory >= 1:
            raise ValueError(f"memory is {memory}; it must be at least 1 frame")
        self.seconds = 0.0
        self._memory = memory
        self._seen = 0

    def observe(self, seconds: float) -> None:
        """Takes what one frame took; anything that is no time is left out."""
        if math.isfinite(seconds) and seconds >= 0:
            self._seen = min(self._seen + 1, self._memory)
            self.seconds += (seconds - self.seconds) / self._seen


@dataclass(frozen=True)
class BudgetSource:
    """How the tracker's budget is set.

    ``mode``: ``milliseconds``, the tracker's own time a frame; ``rate``, ``rate_hz`` frames a second, all that a frame
    needs included; ``camera``, the camera's period times ``headroom``, likewise; ``unlimited``. Raises ValueError for others.
    """

    mode: str = "camera"
    rate_hz: float = 30.0
    milliseconds: float = 33.0
    headroom: float = 0.9

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"budget mode {self.mode!r} must be one of {', '.join(MODES)}")
        for name in ("rate_hz", "milliseconds", "headroom"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be positive")

    def budget_s(
        self,
        period_s: float | None,
        overhead_s: float = 0.0,
        first_exit_s: float | None = None,
        pace: CameraPace | None = None,
    ) -> float | None:
        """The seconds that the tracker may spend on a frame, in FrameBudget's range; None: no budget (mode unlimited, or the
        camera's period is not known yet).

        ``period_s`` is the camera's, ``overhead_s`` what a frame costs beside the tracker, ``first_exit_s`` what the
        first exit costs (None: unknown). In mode ``camera`` the budget ends where the next frame comes or, where that
        is too short for the first exit, where the first later one does; ``pace`` remembers which one it is.
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
