"""COCO and Pascal VOC in the layouts that their makers publish: still images with the boxes of their objects."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from tqdm import tqdm

from dytrack_ros.data.datasets import FolderDataset
from dytrack_ros.data.labels import ImageTable, LabelledImage, inside_image


def coco(root: Path) -> FolderDataset:
    """``annotations/instances_train2017.json`` and ``train2017/000000000009.jpg`` (or ``images/train2017``); crowds are
    left out.

    Raises FileNotFoundError without either, ValueError if the annotations are not COCO's.
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
    return _dataset("coco", labels, [])


def voc(root: Path) -> FolderDataset:
    """``VOC2007`` and others below ``root`` (``VOCdevkit``), or ``root`` itself, each with ``Annotations/000005.xml`` and
    ``JPEGImages/000005.jpg``. ``ImageSets/Main/trainval.txt``, where there is one, names the images that count; objects
    marked ``difficult`` are left out.

    Raises FileNotFoundError if there are no annotations.
    """
    years = [folder for folder in [root, *sorted(root.glob("VOC*"))] if (folder / "Annotations").is_dir()]
    if not years:
        raise FileNotFoundError(f"{root} has no Annotations/ and no VOC*/Annotations/: give VOCdevkit or a year of it")
    labels, left_out = [], []
    for year in years:
        listed = year / "ImageSets" / "Main" / "trainval.txt"
        names = (
            listed.read_text().split()
            if listed.is_file()
            else sorted(path.stem for path in (year / "Annotations").glob("*.xml"))
        )
        for name in tqdm(names, desc=f"reading voc ({year.name})", unit="img"):
            path = year / "Annotations" / f"{name}.xml"
            try:
                labels.append((year / "JPEGImages" / f"{name}.jpg", *_voc_label(path)))
            except (OSError, ValueError, AttributeError, ElementTree.ParseError) as error:
                left_out.append(f"{path}: {error}")
    return _dataset("voc", labels, left_out)


def _voc_label(path: Path) -> tuple[int, int, list[list[float]]]:
    """Width, height and boxes (x, y, w, h) of one file. VOC counts pixels from 1, and its last pixel belongs to the box."""
    annotation = ElementTree.fromstring(path.read_bytes())
    boxes = []
    for item in annotation.iterfind("object"):
        if item.findtext("difficult", "0").strip() == "1":
            continue
        x1, y1, x2, y2 = (float(item.find(f"bndbox/{side}").text) for side in ("xmin", "ymin", "xmax", "ymax"))
        boxes.append([x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1])
    width, height = (int(annotation.find(f"size/{side}").text) for side in ("width", "height"))
    return width, height, boxes


def _dataset(source: str, labels: Iterable[tuple[Path, int, int, list]], left_out: list[str]) -> FolderDataset:
    """Stills of (path, width, height, boxes); those without a trainable box do not count."""
    images, paths = [], []
    for path, width, height, boxes in labels:
        inside = inside_image(np.asarray(boxes, np.float64).reshape(-1, 4), width, height)
        image = LabelledImage(width, height, inside, source)
        if len(image.trainable_boxes()):
            images.append(image)
            paths.append(path)
    if not images:
        raise ValueError(f"no image of {source} can be used: {left_out[0] if left_out else 'none has a trainable box'}")
    return FolderDataset(ImageTable.of(images), paths.__getitem__, left_out)
