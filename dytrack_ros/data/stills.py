"""COCO and Pascal VOC as published: still images with the boxes of their objects."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from tqdm import tqdm

from dytrack_ros.data.datasets import FolderDataset, still_dataset
from dytrack_ros.data.files import files_in, names_in


def coco(root: Path) -> FolderDataset:
    """Reads ``annotations/instances_train2017.json`` and ``train2017/000000000009.jpg`` (or ``images/train2017``).

    Crowds are left out. Raises FileNotFoundError without either, ValueError if the annotations are not COCO's.
    """
    annotations = root / "annotations" / "instances_train2017.json"
    folders = [root / "train2017", root / "images" / "train2017"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if not annotations.is_file() or folder is None:
        raise FileNotFoundError(f"{root} must hold annotations/instances_train2017.json and train2017/ for COCO")
    try:
        content = json.loads(annotations.read_bytes())
        boxes: dict[int, list] = defaultdict(list)
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd"):
                boxes[annotation["image_id"]].append(annotation["bbox"])
        labels = [
            (folder / entry["file_name"], entry["width"], entry["height"], boxes[entry["id"]])
            for entry in content["images"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{annotations} is no file of COCO's detection annotations ({error!r})") from None
    return still_dataset("coco", labels, [])


def voc(root: Path) -> FolderDataset:
    """Reads ``VOC2007`` and others in ``root`` (``VOCdevkit``), or ``root`` itself.

    Each has ``Annotations/000005.xml`` and ``JPEGImages/000005.jpg``. If ``ImageSets/Main/trainval.txt`` exists, only
    the images that it names are read. Objects marked ``difficult`` are left out. Raises FileNotFoundError if there are
    no annotations.
    """
    years = [folder for folder in [root, *sorted(root.glob("VOC*"))] if (folder / "Annotations").is_dir()]
    if not years:
        raise FileNotFoundError(f"{root} has no Annotations/ and no VOC*/Annotations/: give VOCdevkit or a year of it")
    labels, left_out = [], []
    for year in years:
        listed = year / "ImageSets" / "Main" / "trainval.txt"
        listing = (
            names_in(listed) if listed.is_file() else [path.stem for path in files_in(year / "Annotations", "*.xml")]
        )
        for name in tqdm(listing, desc=f"reading voc ({year.name})", unit="img"):
            path = year / "Annotations" / f"{name}.xml"
            try:
                labels.append((year / "JPEGImages" / f"{name}.jpg", *_voc_label(path)))
            except (OSError, ValueError, ElementTree.ParseError) as error:
                left_out.append(f"{path}: {error}")
    return still_dataset("voc", labels, left_out)


def _voc_label(path: Path) -> tuple[int, int, list[list[float]]]:
    """Width, height and boxes (x, y, w, h) of one file. VOC counts pixels from 1; its last pixel belongs to the box."""
    annotation = ElementTree.fromstring(path.read_bytes())
    boxes = []
    for item in annotation.iterfind("object"):
        if item.findtext("difficult", "0").strip() == "1":
            continue
        x1, y1, x2, y2 = (_number(item, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        boxes.append([x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1])
    width, height = (int(_number(annotation, f"size/{side}")) for side in ("width", "height"))
    return width, height, boxes


def _number(element: ElementTree.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    return float(text)
