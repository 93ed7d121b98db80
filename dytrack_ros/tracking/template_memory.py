"""A template that follows the target's change of looks, without ever losing the first one (the paper's future work)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dytrack_ros.tracking.box import Box
from dytrack_ros.tracking.crop import TemplateShape, cut_template
from dytrack_ros.tracking.image import ImageView


@dataclass(frozen=True)
class TemplateSettings:
    """``share``: how much of the template that the network sees is the newest sure picture of the target, in [0, 1); the
    rest is the first one. ``every``: sure frames at full depth from one picture to the next. ``score``: the predicted IoU
    from which on such a frame is sure."""

    share: float = 0.3
    every: int = 20
    score: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.every < 1 or not 0 <= self.score <= 1:
            raise ValueError(
                f"share is {self.share}, every {self.every}, score {self.score}; "
                "they must lie in [0, 1), be at least 1, and lie in [0, 1]"
            )


class TemplateMemory:
    """The first template, and the mixture of it with a newer picture.

    The first is kept as it was given, so that no wrong picture can stay: doubt brings it back (:meth:`forget`).
    """

    def __init__(self, first: np.ndarray):
        """``first``: the template of the initialisation, uint8 RGB (S, S, 3)."""
        self.first = first
        self._sure_frames = 0
        self._is_mixed = False

    def updated(
        self, image: np.ndarray | ImageView, box: Box, shape: TemplateShape, score: float, settings: TemplateSettings
    ) -> np.ndarray | None:
        """The template to use from now on, after a frame at full depth with the target in ``box``; None: as before."""
        self._sure_frames = self._sure_frames + 1 if score >= settings.score else 0
        if not self._sure_frames or self._sure_frames % settings.every:
            return None
        newest = cut_template(image, box, shape)
        self._is_mixed = True
        return np.rint(self.first + settings.share * (newest.astype(np.float32) - self.first)).astype(np.uint8)

    def forget(self) -> np.ndarray | None:
        """The first template if another one is in use, else None: for a frame that is in doubt."""
        self._sure_frames = 0
        was_mixed, self._is_mixed = self._is_mixed, False
        return self.first if was_mixed else None
