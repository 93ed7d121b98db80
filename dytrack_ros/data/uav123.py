"""UAV123 and UAV123_10fps (Müller et al., ECCV 2016).

Several sequences may be parts of one folder of images. ``configSeqs.m``, which comes with the data set, names the
parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
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


@dataclass(frozen=True)
class Part:
    """Images ``first`` to ``last``, by the numbers in their names, of a folder in ``data_seq``."""

    folder: str
    first: int
    last: int


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
    parts = _official_parts(folder, version)
    if parts is None:
        parts = _derived_parts(images, truth_files)
    missing = [path.name for path in truth_files if path.stem not in parts]
    if missing:
        raise ValueError(f"{CONFIG} in {folder} does not list {', '.join(missing[:3])} in {anno}")
    return [_load_sequence(images, path, parts[path.stem]) for path in truth_files]


def _load_sequence(images: Path, truth_file: Path, part: Part) -> Sequence:
    truth = read_truth(truth_file)
    frames = tuple(path for path in images_in(images / part.folder) if part.first <= frame_number(path) <= part.last)
    if len(frames) != len(truth):
        raise ValueError(
            f"{truth_file} has {len(truth)} boxes for the {len(frames)} images {part.first} to {part.last} of "
            f"{images / part.folder}"
        )
    return Sequence(truth_file.stem, frames, truth)


def _official_parts(folder: Path, version: str) -> dict[str, Part] | None:
    """The parts by name in ``configSeqs.m``; None without that file. Raises ValueError if it cannot be read."""
    config = next((path for pattern in (CONFIG, f"*/{CONFIG}") for path in sorted(folder.glob(pattern))), None)
    if config is None:
        return None
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
        parts[values["name"]] = Part(path.rpartition("/")[2], int(values["startFrame"]), int(values["endFrame"]))
    return parts


def _derived_parts(images: Path, truth_files: list[Path]) -> dict[str, Part]:
    """Parts derived from the sequences' lengths.

    A sequence with a folder of its own begins with its first image. NAME_1, NAME_2 ... fill the folder NAME, each
    beginning with the last image of the one before. Raises ValueError if the lengths do not fit.
    """
    sharing: dict[str, list[Path]] = {}
    for path in truth_files:
        shared_folder = path.stem.rpartition("_")[0]
        is_shared = shared_folder and not (images / path.stem).is_dir()
        sharing.setdefault(shared_folder if is_shared else path.stem, []).append(path)
    parts = {}
    for name, files in sharing.items():
        numbers = [frame_number(path) for path in images_in(images / name)]
        files.sort(key=frame_number)
        lengths = [len(read_truth(path)) for path in files]
        fits = len(numbers) == sum(lengths) - (len(files) - 1) if len(files) > 1 else lengths[0] <= len(numbers)
        if not fits:
            raise ValueError(
                f"which images of {images / name} belong to {', '.join(path.stem for path in files)} cannot be told "
                f"from their lengths ({len(numbers)} images, {lengths} boxes): put the data set's {CONFIG} beside it"
            )
        starts = [0, *accumulate(length - 1 for length in lengths)]
        for path, start, length in zip(files, starts, lengths, strict=False):
            parts[path.stem] = Part(name, numbers[start], numbers[start + length - 1])
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
