"""TNL2K's test set (Wang et al., CVPR 2021): NAME/imgs, NAME/groundtruth.txt."""

from __future__ import annotations

from pathlib import Path

from dytrack_ros.data.files import first_frames, images_in, read_truth
from dytrack_ros.data.sequences import Layout, Sequence

ATTRIBUTES = (
    "Camera Motion", "Rotation", "Deformation", "Full Occlusion", "Illumination Variation", "Out-of-View",
    "Partial Occlusion", "Viewpoint Change", "Scale Variation", "Background Clutter", "Motion Blur",
    "Aspect Ratio Change", "Low Resolution", "Fast Motion", "Adversarial Sample", "Thermal Crossover",
    "Modality Switch",
)  # fmt: skip


def _recognises(folder: Path) -> bool:
    return any(folder.glob("*/imgs"))


def _load(folder: Path) -> list[Sequence]:
    return [_load_sequence(path.parent) for path in sorted(folder.glob("*/imgs"))]


def _load_sequence(folder: Path) -> Sequence:
    truth_file = folder / "groundtruth.txt"
    truth = read_truth(truth_file)
    return Sequence(folder.name, first_frames(images_in(folder / "imgs"), len(truth), truth_file), truth)


LAYOUTS = (
    Layout(
        "tnl2k", "NAME/{imgs/*, groundtruth.txt}", _recognises, _load, 700, ATTRIBUTES, ("att", "annos/att"),
        absent_is_missed=True, subset_note="give the folder of the test subset alone",
    ),
)  # fmt: skip
