"""What all engines share: the order of calls, the check of crops, warming up."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from dytrack_ros.model.presets import DyTrackConfig


class StagedEngine(ABC):
    """An :class:`~dytrack_ros.engines.registry.Engine` around four steps, which a subclass computes.

    The steps are called in a sensible order only, with crops of the right size. Exits are positions from 0 there.
    """

    name: str
    device: str
    chosen_because = "made directly"
    failures: tuple[str, ...] = ()

    def __init__(self, config: DyTrackConfig):
        self.exit_count = len(config.exits)
        self.template_size, self.search_size = config.template_size, config.search_size
        self.template_factor, self.search_factor = config.template_factor, config.search_factor
        self.background_mask = config.background_mask
        self._forget()

    @abstractmethod
    def _take_template(self, template: np.ndarray) -> None:
        """Computes the template's tokens and keeps them."""

    @abstractmethod
    def _take_search(self, search: np.ndarray) -> None:
        """Keeps the search region, or its tokens; the array may change afterwards."""

    @abstractmethod
    def _run_stage(self, position: int) -> float:
        """Runs an exit's encoder layers and decisioner on what the previous stage left; its predicted IoU."""

    @abstractmethod
    def _run_head(self, position: int) -> np.ndarray:
        """Runs an exit's box head: (4,) float32."""

    def set_template(self, template: np.ndarray) -> None:
        check_crop(template, self.template_size, "template")
        self._forget()
        self._take_template(template)
        self._has_template = True

    def begin(self, search: np.ndarray) -> None:
        check_crop(search, self.search_size, "search region")
        if not self._has_template:
            raise RuntimeError("begin() before set_template(): there is no target yet")
        self._take_search(search)
        self._has_search, self._reached = True, 0

    def advance(self) -> float:
        if not self._has_search:
            raise RuntimeError("advance() before begin(): there is no search region yet")
        if self._reached == self.exit_count:
            raise RuntimeError(f"advance() after the last exit ({self.exit_count}): call begin() for the next frame")
        score = self._run_stage(self._reached)
        self._reached += 1
        return score

    def locate(self) -> np.ndarray:
        if self._reached == 0:
            raise RuntimeError("locate() before advance(): no exit has been reached yet")
        return self._run_head(self._reached - 1)

    def _forget(self) -> None:
        self._has_template = self._has_search = False
        self._reached = 0

    def _warm_up(self) -> None:
        """Runs everything once, so that the first frame takes no longer than the others."""
        self.set_template(np.zeros((self.template_size, self.template_size, 3), np.uint8))
        self.begin(np.zeros((self.search_size, self.search_size, 3), np.uint8))
        for _ in range(self.exit_count):
            self.advance()
            self.locate()
        self._forget()


def check_crop(crop: np.ndarray, size: int, what: str) -> None:
    """Raises ValueError unless ``crop`` is a uint8 array of (size, size, 3)."""
    if crop.shape != (size, size, 3) or crop.dtype != np.uint8:
        raise ValueError(f"{what} must be uint8 RGB of {size}x{size}x3, not {crop.dtype} {crop.shape}")
