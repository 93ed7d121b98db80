"""Made-up training data: tiny copies of public data sets as published, and a shard; red rectangles on grey noise."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 160, 120


def write_image(path: Path, box, size=(WIDTH, HEIGHT)) -> None:
    """A picture with a red rectangle at ``box`` (x, y, w, h); it may reach beyond the border."""
    width, height = size
    noise = np.random.default_rng(sum(map(ord, path.stem))).integers(0, 30, (height, width, 1), np.uint8)
    image = np.full((height, width, 3), 90, np.uint8) + noise
    x, y, w, h = (round(value) for value in box)
    image[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = (0, 0, 200)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else [])


def moving_boxes(count: int) -> list[tuple[float, float, float, float]]:
    return [(20 + 4 * number, 40 + number, 30, 24) for number in range(count)]


def write_video(folder: Path, truth: Path, boxes, name="{:08d}.jpg", first=1) -> None:
    for number, box in enumerate(boxes):
        write_image(folder / name.format(first + number), box)
    truth.parent.mkdir(parents=True, exist_ok=True)
    truth.write_text("".join(",".join(f"{value:.2f}" for value in box) + "\n" for box in boxes))


def make_lasot(root: Path) -> Path:
    """Two training videos and one test video of six frames: frame 2 of the first is covered, frame 3 out of view."""
    for name in ("cat-1", "cat-2", "kite-7"):
        folder = root / name.split("-")[0] / name
        write_video(folder / "img", folder / "groundtruth.txt", moving_boxes(6))
        (folder / "full_occlusion.txt").write_text("0,0,1,0,0,0" if name == "cat-1" else "0,0,0,0,0,0")
        (folder / "out_of_view.txt").write_text("0,0,0,1,0,0" if name == "cat-1" else "0,0,0,0,0,0")
    (root / "testing_set.txt").write_text("cat-2\n")
    return root


def make_got10k(root: Path) -> Path:
    """Two listed videos of five frames and one that the list does not name; of the first, frame 0 is absent and frame 4
    wholly covered."""
    names = [f"GOT-10k_Train_{number:06d}" for number in (1, 2, 3)]
    for name in names:
        folder = root / "train" / name
        write_video(folder, folder / "groundtruth.txt", moving_boxes(5))
        first = name == names[0]
        (folder / "absence.label").write_text("1\n0\n0\n0\n0\n" if first else "0\n" * 5)
        (folder / "cover.label").write_text("8\n8\n3\n8\n0\n" if first else "8\n" * 5)
    (root / "train" / "list.txt").write_text("\n".join(names[:2]) + "\n")
    return root


def make_trackingnet(root: Path) -> Path:
    """A video of four frames in each of two chunks; in the second, half of the target leaves the image at its left."""
    for chunk, name in ((0, "abc_0"), (11, "xyz_1")):
        folder = root / f"TRAIN_{chunk}"
        boxes = moving_boxes(4) if chunk == 0 else [(-15.0, 40, 30, 24)] * 4
        write_video(folder / "frames" / name, folder / "anno" / f"{name}.txt", boxes, name="{}.jpg", first=0)
    return root


def make_coco(root: Path) -> Path:
    """Three images: two objects, one object and a crowd, nothing."""
    boxes = [[20, 30, 40, 30], [90, 50, 30, 40]]
    images = [{"id": 9 + n, "file_name": f"{9 + n:012d}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(3)]
    for image in images:
        write_image(root / "train2017" / image["file_name"], boxes[0])
    annotations = [
        {"id": 1, "image_id": 9, "bbox": boxes[0], "iscrowd": 0, "category_id": 1},
        {"id": 2, "image_id": 9, "bbox": boxes[1], "iscrowd": 0, "category_id": 1},
        {"id": 3, "image_id": 10, "bbox": boxes[0], "iscrowd": 0, "category_id": 2},
        {"id": 4, "image_id": 10, "bbox": [0, 0, 60, 60], "iscrowd": 1, "category_id": 2},
    ]
    (root / "annotations").mkdir(parents=True)
    content = json.dumps({"images": images, "annotations": annotations, "categories": []})
    (root / "annotations" / "instances_train2017.json").write_text(content)
    return root


VOC_OBJECT = """<object><name>dog</name><difficult>{difficult}</difficult>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part></object>"""


def make_voc(root: Path) -> Path:
    """Two years: an image with an object and a difficult one, one that trainval does not name, one without a list."""
    for year, name in ((2007, "000005"), (2007, "000006"), (2012, "2008_000002")):
        folder = root / f"VOC{year}"
        write_image(folder / "JPEGImages" / f"{name}.jpg", (20, 30, 40, 30))
        objects = VOC_OBJECT.format(difficult=0, x1=21, y1=31, x2=60, y2=60)
        objects += VOC_OBJECT.format(difficult=1, x1=81, y1=31, x2=120, y2=60)
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        (folder / "Annotations").mkdir(parents=True, exist_ok=True)
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    listed = root / "VOC2007" / "ImageSets" / "Main" / "trainval.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("000005\n")
    return root


MAKERS = {
    "lasot": make_lasot,
    "got10k": make_got10k,
    "trackingnet": make_trackingnet,
    "coco": make_coco,
    "voc": make_voc,
}


def make_shard(path):
    """Six stills and a video of eight frames; every target is a red rectangle on grey noise."""
    rng = np.random.default_rng(0)
    index = []
    with tarfile.open(path, "w") as archive:

        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        for number in range(14):
            video = number >= 6
            image = np.full((120, 160, 3), 90, np.uint8) + rng.integers(0, 30, (120, 160, 1), np.uint8)
            x, y, w, h = (
                (40 + 5 * (number - 6), 50, 24, 20) if video else rng.integers([20, 20, 15, 15], [90, 70, 40, 30])
            )
            image[y : y + h, x : x + w] = (0, 0, 200)
            name = f"{number:03d}.webp"
            add(name, cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 100])[1].tobytes())
            entry = {"file": name, "w": 160, "h": 120, "boxes": [[float(v) for v in (x, y, w, h)]], "source": "made"}
            if video:
                entry |= {"source": "film", "video": "film_0", "frame": 60 * (number - 6)}
            else:
                entry["boxes"].append([0.0, 0.0, 160.0, 120.0])
            index.append(json.dumps(entry))
        add("index.jsonl", "\n".join(index).encode())
    return path
