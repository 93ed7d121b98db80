"""OTB (Wu et al., TPAMI 2015): NAME/img and groundtruth_rect.txt, or groundtruth_rect.K.txt for each target."""

from __future__ import annotations

from pathlib import Path

from dytrack_ros.data.files import first_frames, frame_number, images_in, read_text, read_truth
from dytrack_ros.data.sequences import Layout, Sequence

FIRST_IMAGES = {"David": 300}  # all others begin with their first image
ATTRIBUTES = (
    "Illumination Variation", "Out-of-Plane Rotation", "Scale Variation", "Occlusion", "Deformation", "Motion Blur",
    "Fast Motion", "In-Plane Rotation", "Out-of-View", "Background Clutter", "Low Resolution",
)  # fmt: skip


def _recognises(folder: Path) -> bool:
    return any(folder.glob("*/groundtruth_rect*.txt"))


def _load(folder: Path) -> list[Sequence]:
    """Targets by name: a folder NAME with several truth files gives NAME-1, NAME-2 ... Empty files (Human4 has one) are
    skipped."""
    sequences = []
    for sequence_folder in sorted({path.parent for path in folder.glob("*/groundtruth_rect*.txt")}):
        files = sorted(sequence_folder.glob("groundtruth_rect*.txt"))
        with_boxes = [path for path in files if read_text(path).strip()]
        if not with_boxes:
            raise ValueError(f"{files[0]} is empty: expected x, y, w, h a line")
        for path in with_boxes:
            target = path.stem.rpartition(".")[2]
            name = f"{sequence_folder.name}-{target}" if len(files) > 1 else sequence_folder.name
            sequences.append(_load_sequence(name, sequence_folder, path))
    return sequences


def _load_sequence(name: str, folder: Path, truth_file: Path) -> Sequence:
    frames, truth = images_in(folder / "img"), read_truth(truth_file)
    if len(frames) > len(truth):
        first = FIRST_IMAGES.get(folder.name, 0)
        frames = tuple(path for path in frames if frame_number(path) >= first)
    return Sequence(name, first_frames(frames, len(truth), truth_file), truth)


LAYOUTS = (
    Layout(
        "otb", "NAME/{img/*, groundtruth_rect.txt or groundtruth_rect.1.txt ...}", _recognises, _load, 100, ATTRIBUTES,
        ("att", "anno/att"),
    ),
)  # fmt: skip
