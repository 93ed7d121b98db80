"""The contract of an engine: the order of calls, the checks of their arguments and the decoding of heat maps."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from dytrack_ros.model.presets import DyTrackConfig


class Engine(ABC):
    """Runs the network on one search region at a time, with its weights loaded and warmed up.

    Call ``set_template`` once a target; then for every frame ``begin``, ``advance`` once or more, and ``heat_maps`` or
    ``locate``. Calls out of order raise RuntimeError. Crops of a wrong size or type raise ValueError; the engine stays
    as it was. An engine copies the crops it is given, and its answers belong to the caller. It is not thread-safe.

    A subclass implements the four methods with a leading underscore; they are called in a valid order with valid crops.
    An exit's ``position`` counts from 0.

    Attributes:
        name: the engine's name in the registry.
        device: ``cpu`` or ``cuda:N``.
        precision: ``auto`` if the engine chose it, else ``fp32``, ``fp16`` or ``int8``.
        chosen_because: why this engine runs, for logs.
        failures: why each engine before this one was given up; empty if this is the first.
        exit_count: number of exits.
        template_size, search_size: sides of the two crops in pixels.
        template_factor, search_factor: sides of the two crops in target sides.
        search_grid: side of a heat map in cells.
        background_mask: opacity in [0, 1) of the mask over the template's background; see DyTrackConfig.
    """

    name: str
    device: str
    precision: str = "auto"
    chosen_because: str = "made directly"
    failures: tuple[str, ...] = ()

    def __init__(self, config: DyTrackConfig) -> None:
        self.exit_count = len(config.exits)
        self.template_size, self.search_size = config.template_size, config.search_size
        self.template_factor, self.search_factor = config.template_factor, config.search_factor
        self.search_grid, self.background_mask = config.search_grid, config.background_mask
        self._forget()

    @property
    def label(self) -> str:
        """Name and device for logs, such as ``openvino (cpu)``, with the precision if one was asked for."""
        note = f", {self.precision}" if self.precision in ("fp32", "int8") else ""
        return f"{self.name} ({self.device}{note})"

    def set_template(self, template: NDArray[np.uint8]) -> None:
        """Set the target from its crop: uint8 RGB, (template_size, template_size, 3)."""
        check_crop(template, self.template_size, "template")
        self._forget()
        self._take_template(template)
        self._has_template = True

    def begin(self, search: NDArray[np.uint8]) -> None:
        """Start a frame with its search region: uint8 RGB, (search_size, search_size, 3)."""
        check_crop(search, self.search_size, "search region")
        if not self._has_template:
            raise RuntimeError("begin() before set_template(): there is no target yet")
        self._take_search(search)
        self._has_search, self._reached = True, 0

    def advance(self) -> float:
        """Run the next stage; return its exit's predicted IoU in [0, 1]."""
        if not self._has_search:
            raise RuntimeError("advance() before begin(): there is no search region yet")
        if self._reached == self.exit_count:
            raise RuntimeError(f"advance() after the last exit ({self.exit_count}): call begin() for the next frame")
        score = self._run_stage(self._reached)
        self._reached += 1
        return score

    def heat_maps(self) -> NDArray[np.float32]:
        """Run the box head of the exit reached; return its two corner heat maps.

        They are (2, H, W) float32 log-probabilities over the cells of the search region, the top-left corner's first.
        """
        if self._reached == 0:
            raise RuntimeError("locate() or heat_maps() before advance(): no exit has been reached yet")
        return self._run_head(self._reached - 1)

    def locate(self, log_prior: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
        """Run the box head of the exit reached; return its box.

        It is (4,) float32, (x1, y1, x2, y2) in [0, 1] of the search region. ``log_prior`` (2, H, W) is added to the
        heat maps before.
        """
        log_heat_maps = self.heat_maps()
        return expected_box(log_heat_maps if log_prior is None else normalized(log_heat_maps + log_prior))

    @abstractmethod
    def _take_template(self, template: NDArray[np.uint8]) -> None:
        """Compute and keep the template's tokens."""

    @abstractmethod
    def _take_search(self, search: NDArray[np.uint8]) -> None:
        """Keep a copy of the search region."""

    @abstractmethod
    def _run_stage(self, position: int) -> float:
        """Run an exit's encoder layers and decisioner on the previous stage's output; return the predicted IoU."""

    @abstractmethod
    def _run_head(self, position: int) -> NDArray[np.float32]:
        """Run an exit's box head; return its heat maps as a new array, (2, H, W) float32."""

    def _forget(self) -> None:
        self._has_template = self._has_search = False
        self._reached = 0

    def answers(self, template: NDArray[np.uint8], search: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Run every exit on two crops; return (exits, 5), whose rows are (score, x1, y1, x2, y2)."""
        self.set_template(template)
        self.begin(search)
        return np.array([[self.advance(), *self.locate()] for _ in range(self.exit_count)])

    def _reference_answers(self) -> NDArray[np.float64]:
        """Return the answers for the reference crops, which also warms the engine up. It has no target afterwards."""
        answers = self.answers(reference_crop(self.template_size), reference_crop(self.search_size))
        self._forget()
        return answers


def normalized(log_heat_maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return log-probabilities (2, H, W) float32: those of each heat map sum up to 1."""
    shifted = log_heat_maps - log_heat_maps.max(axis=(1, 2), keepdims=True)
    normalizer = np.log(np.exp(shifted).sum(axis=(1, 2), keepdims=True))
    result: NDArray[np.float32] = (shifted - normalizer).astype(np.float32)
    return result


def expected_box(log_heat_maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decode two corner heat maps into a box, as :meth:`dytrack_ros.model.corner_head.CornerHead.box` does.

    Args:
        log_heat_maps: log-probabilities (2, H, W) float32, the top-left corner's first.

    Returns:
        (4,) float32, (x1, y1, x2, y2) in [0, 1] of the search region: each corner is the expectation over cell centres.
    """
    _, height, width = log_heat_maps.shape
    heat = np.exp(log_heat_maps)
    xs = (np.arange(width, dtype=np.float32) + 0.5) / width
    ys = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.stack([heat.sum(axis=1) @ xs, heat.sum(axis=2) @ ys], axis=1).reshape(4)


def reference_crop(size: int) -> NDArray[np.uint8]:
    """Make a crop of coloured blocks, uint8 (size, size, 3), the same on every machine, to compare engines on."""
    y, x, channel = np.mgrid[:size, :size, :3] // np.array([32, 32, 1]).reshape(3, 1, 1, 1)
    crop: NDArray[np.uint8] = ((97 * x + 61 * y + 89 * channel) * 57 % 256).astype(np.uint8)
    return crop


def check_crop(crop: NDArray[np.uint8], size: int, what: str) -> None:
    """Raise ValueError unless ``crop`` is a uint8 array of (size, size, 3)."""
    if crop.shape != (size, size, 3) or crop.dtype != np.uint8:
        raise ValueError(f"{what} must be uint8 RGB of {size}x{size}x3, not {crop.dtype} {crop.shape}")


def check_device(device: str) -> None:
    """Raise ValueError unless ``device`` is ``auto``, ``cpu`` or ``cuda[:N]``."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"device {device!r} must be auto, cpu or cuda[:N]")
