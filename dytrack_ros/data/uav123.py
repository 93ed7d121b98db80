"""UAV123 and UAV123_10fps (Müller et al., ECCV 2016).

Several sequences may be parts of one folder of images; ``configSeqs.m``, which comes with the data set, names them.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from dytrack_ros.data.files import files_in, frame_number, images_in, read_text, read_truth
from dytrack_ros.data.sequences import Layout, Sequence

CONFIG = "configSeqs.m"
ATTRIBUTES = (
    "Scale Variation", "Aspect Ratio Change", "Low Resolution", "Fast Motion", "Full Occlusion", "Partial Occlusion",
    "Out-of-View", "Background Clutter", "Illumination Variation", "Viewpoint Change", "Camera Motion",
    "Similar Object",
)  # fmt: skip
FULL_RATE, LOW_RATE = "UAV123", "UAV123_10fps"


def _below(folder: Path, name: str) -> Path:
    """``folder/name`` if it exists: the low rate comes with and without that folder."""
    return folder / name if (folder / name).is_dir() else folder


def _recognises(version: str, folder: Path) -> bool:
    if not ((folder / "data_seq").is_dir() and (folder / "anno").is_dir()):
        return False
    return (folder / "data_seq" / FULL_RATE).is_dir() == (version == FULL_RATE)


def _load(version: str, folder: Path) -> list[Sequence]:
    images, anno = _below(folder / "data_seq", version), _below(folder / "anno", version)
    truth_files = files_in(anno, "*.txt")
    parts = _parts(folder, version) if truth_files else {}
    missing = [path.name for path in truth_files if path.stem not in parts]
    if missing:
        raise ValueError(f"{CONFIG} in {folder} does not list {', '.join(missing[:3])} in {anno}")
    return [_load_sequence(images, path, *parts[path.stem]) for path in truth_files]


def _load_sequence(images: Path, truth_file: Path, shared: str, first: int, last: int) -> Sequence:
    truth = read_truth(truth_file)
    frames = tuple(path for path in images_in(images / shared) if first <= frame_number(path) <= last)
    if len(frames) != len(truth):
        raise ValueError(
            f"{truth_file} has {len(truth)} boxes for the {len(frames)} images {first} to {last} of {images / shared}"
        )
    return Sequence(truth_file.stem, frames, truth)


def _parts(folder: Path, version: str) -> dict[str, tuple[str, int, int]]:
    """Folder of images, first and last number of each sequence, from ``configSeqs.m``. Raises ValueError, OSError."""
    config = next((path for pattern in (CONFIG, f"*/{CONFIG}") for path in sorted(folder.glob(pattern))), None)
    if config is None:
        raise FileNotFoundError(f"{folder / CONFIG} is missing: it comes with the data set and names its sequences")
    text = read_text(config, errors="replace")
    lists = dict(re.findall(r"(\w+)\s*=\s*\{(.*?)\}\s*;", text, re.DOTALL))
    # One file may also list UAV20L, whose sequences have the same names.
    body = lists.get(f"seq{version}")
    if body is None:
        raise ValueError(f"{config} has no list seq{version} = {{struct(...), ...}};")
    parts = {}
    for fields in re.findall(r"struct\((.*?)\)", body, re.DOTALL):
        values = dict(re.findall(r"'(name|path|startFrame|endFrame)'\s*,\s*'?([^',)]*)'?", fields))
        if len(values) < 4:
            raise ValueError(f"{config}: expected 'name', 'path', 'startFrame' and 'endFrame' in struct({fields})")
        path = values["path"].replace("\\", "/").rstrip("/")
        parts[values["name"]] = (path.rpartition("/")[2], int(values["startFrame"]), int(values["endFrame"]))
    return parts


LAYOUTS = (
    Layout(
        "uav123", f"data_seq/UAV123/NAME/*.jpg, anno/UAV123/NAME.txt and {CONFIG}",
        partial(_recognises, FULL_RATE), partial(_load, FULL_RATE), 123, ATTRIBUTES, ("anno/UAV123/att", "anno/att"),
        absent_is_missed=True,
    ),
    Layout(
        "uav123_10fps", f"data_seq/NAME/*.jpg, anno/NAME.txt and {CONFIG}",
        partial(_recognises, LOW_RATE), partial(_load, LOW_RATE), 123, ATTRIBUTES,
        ("anno/att", "anno/UAV123_10fps/att"), absent_is_missed=True,
    ),
)  # fmt: skip
