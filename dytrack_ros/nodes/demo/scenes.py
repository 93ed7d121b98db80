"""Clips that the demo makes itself, so that the truth is known: a target that goes out of sight, and a shaken camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from dytrack_ros.nodes.demo.camera_sources import SourceFrame
from dytrack_ros.nodes.demo.scene_parts import framed, paste, texture
from dytrack_ros.tracking.box import Box, clip_box

FRAMES = 140
# Of the whole target: less of it is no target that anybody could find.
LEAST_IN_SIGHT = 0.25

_OCCLUSION_SIZE = 640, 480
_TARGET_SIDE = 104
# The target needs so many frames to cross the picture, and then waits to be found, however slow the machine is.
_CROSSING_FRAMES, _HIDDEN_FRAMES = 100, 14
_SHAKE_SIZE = 640, 360
# How much of the still the shaken camera sees, and its movements: a slow pan and a fast shake, as parts of what it sees.
_VIEW = 0.75
_PAN, _SHAKE = 0.1, 0.035
_EXPOSURES = 9  # a picture is the mean of so many within half a frame's time, which blurs as a shutter does


def occlusion(frames: int = FRAMES, seed: int = 3) -> Iterator[SourceFrame]:
    """A textured target crosses a textured scene, behind a pillar, and stays on its far side: for 14 frames nothing of
    it is in sight.

    The truth is the part in sight; none where that is under LEAST_IN_SIGHT.
    """
    width, height = _OCCLUSION_SIZE
    random = np.random.default_rng(seed)
    background = texture(random, height, width, contrast=45)
    target = framed(texture(random, _TARGET_SIDE, _TARGET_SIDE, contrast=75), random.uniform(0, 255, 3))
    start, end = 20.0, width - 20.0 - _TARGET_SIDE
    step = (end - start) / _CROSSING_FRAMES
    pillar = texture(random, height, round(_TARGET_SIDE + _HIDDEN_FRAMES * step), contrast=20) // 2
    pillar_left = (width - pillar.shape[1]) // 2
    for index in range(frames):
        image = background.copy()
        x = start + step * min(index, _CROSSING_FRAMES)
        y = height * (0.42 + 0.08 * np.sin(index / 9))
        paste(image, target, np.array([x, y]))
        image[:, pillar_left : pillar_left + pillar.shape[1]] = pillar
        yield SourceFrame(image, _in_sight((x, y, _TARGET_SIDE, _TARGET_SIDE), pillar_left, pillar.shape[1]))


def _in_sight(box: Box, pillar_left: int, pillar_width: int) -> Box | None:
    """What a pillar from top to bottom leaves of a box: what is left of it, or what is right of it."""
    x, y, width, height = map(float, box)
    left = max(min(x + width, pillar_left) - x, 0.0)
    right = max(x + width - max(x, pillar_left + pillar_width), 0.0)
    if max(left, right) < LEAST_IN_SIGHT * width:
        return None
    return (x, y, left, height) if left > right else (x + width - right, y, right, height)


def shaken(still: np.ndarray, box: Box, frames: int = FRAMES) -> Iterator[SourceFrame]:
    """A camera that is panned and shaken in front of a still (uint8 BGR, HxWx3), with the blur of its movement.

    `box` is the target in the still, x, y, w, h in pixels. The truth is the part of it in the picture.
    """
    width, height = _SHAKE_SIZE
    view = np.array([still.shape[1] * _VIEW, still.shape[1] * _VIEW * height / width])
    room = (np.array([still.shape[1], still.shape[0]]) - view) / 2
    scale = width / view[0]

    def corner(time: float) -> np.ndarray:
        pan = _PAN * np.sin(2 * np.pi * time / np.array([61.0, 83.0]) + [0.0, 1.0])
        shake = _SHAKE * (
            np.sin(2 * np.pi * time / np.array([4.7, 3.9])) + 0.5 * np.sin(2 * np.pi * time / np.array([2.3, 2.9]))
        )
        return np.clip(room + (pan + shake) * view, 0, 2 * room)

    for index in range(frames):
        moments = index + np.linspace(-0.25, 0.25, _EXPOSURES)
        shots = [_view(still, corner(moment), scale) for moment in moments]
        image = np.mean(shots, axis=0).round().astype(np.uint8)
        x, y = (np.array(box[:2]) - corner(index)) * scale
        yield SourceFrame(
            image, clip_box((float(x), float(y), box[2] * scale, box[3] * scale), width, height, margin=0)
        )


def _view(still: np.ndarray, corner: np.ndarray, scale: float) -> np.ndarray:
    """What a camera sees whose picture's top-left corner lies at `corner` of the still."""
    centre = 0.5 * scale - 0.5  # as in scene_parts.paste
    place = np.float64([[scale, 0, centre - corner[0] * scale], [0, scale, centre - corner[1] * scale]])
    return cv2.warpAffine(still, place, _SHAKE_SIZE, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def write_scene(
    pictures: Iterator[SourceFrame], folder: Path, progress: Callable[[int], None] = lambda count: None
) -> None:
    """Write pictures as `folder`/img/1.jpg, 2.jpg ... and `folder`/groundtruth.txt, which camera_node and evaluate read.

    What an earlier call wrote there is replaced. `progress` is told the number of each picture.
    """
    images = folder / "img"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.jpg"):
        old.unlink()
    lines = []
    for number, (image, truth) in enumerate(pictures, 1):
        cv2.imwrite(str(images / f"{number}.jpg"), image, (cv2.IMWRITE_JPEG_QUALITY, 95))
        lines.append(",".join("nan" if truth is None else f"{truth[side]:.2f}" for side in range(4)))
        progress(number)
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
