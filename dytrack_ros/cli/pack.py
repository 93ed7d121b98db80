"""The command ``dytrack pack``: writes training data as tar shards of small images."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dytrack_ros.cli.command import command
from dytrack_ros.cli.types import at_least_one
from dytrack_ros.data.labels import ImageTable
from dytrack_ros.data.registry import DATA_HELP, left_out, open_data, summary
from dytrack_ros.data.shards import FORMATS, ShardWriter

MANIFEST = "pack.json"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="dytrack pack", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--data", nargs="+", required=True, help=DATA_HELP)
    p.add_argument("--out", type=Path, required=True, help="folder of the shards; finished shards are kept")
    p.add_argument("--long-side", type=at_least_one, default=640, help="longer side of the images in px, at most")
    p.add_argument("--frames-per-video", type=at_least_one, default=20, help="at most, evenly spaced")
    p.add_argument("--images-per-shard", type=at_least_one, default=5000, help="at most")
    p.add_argument("--format", choices=FORMATS, default="webp", help="of the images")
    p.add_argument(
        "--quality", type=int, choices=range(1, 101), metavar="1..100", default=90, help="of the compression"
    )
    p.add_argument("--threads", type=at_least_one, default=os.cpu_count(), help="for decoding and encoding")
    return p


def shrunk(images: ImageTable, long_side: int) -> ImageTable:
    """The labels of the images, shrunk until their longer side is at most ``long_side`` px."""
    scale = np.minimum(1, long_side / np.maximum(images.widths, images.heights))
    widths, heights = (
        np.maximum(np.rint(sides * scale), 1).astype(np.int32) for sides in (images.widths, images.heights)
    )
    factors = np.stack([widths / images.widths, heights / images.heights] * 2, axis=1)
    boxes = images.boxes * np.repeat(factors, np.diff(images.box_starts), axis=0)
    return replace(images, widths=widths, heights=heights, boxes=boxes.astype(np.float32))


def chosen(images: ImageTable, frames_per_video: int) -> np.ndarray:
    """Numbers of the images to pack: all stills, and of each video at most ``frames_per_video``, evenly spaced.

    Images without a trainable box are left out.
    """
    numbers = [images.trainable_stills()]
    for frames in images.trainable_videos():
        places = np.linspace(0, len(frames) - 1, min(frames_per_video, len(frames)))
        numbers.append(frames[np.rint(places).astype(int)])
    return np.sort(np.concatenate(numbers))


def begin(folder: Path, args: argparse.Namespace, images: ImageTable) -> None:
    """Writes the settings of the shards into ``folder``. Raises ValueError if other ones are there."""
    labels = hashlib.sha256()
    for column in vars(images).values():
        labels.update(column.tobytes() if isinstance(column, np.ndarray) else repr(column).encode())
    names = ("long_side", "frames_per_video", "images_per_shard", "format", "quality")
    now = {**{name: getattr(args, name) for name in names}, "images": len(images), "labels": labels.hexdigest()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    if not path.exists():
        path.write_text(json.dumps(now, indent=2) + "\n")
        return
    then = json.loads(path.read_text())
    changed = [f"{name} {then.get(name)}" for name, value in now.items() if then.get(name) != value]
    if changed:
        raise ValueError(
            f"{folder} was begun with {', '.join(changed)}: give the same data and options, or another folder"
        )


@command("pack")
def main(argv: list[str] | None) -> int:
    args = parser().parse_args(argv)
    dataset = open_data(args.data)
    images = shrunk(ImageTable.of(dataset.images), args.long_side)
    numbers = chosen(images, args.frames_per_video)
    if not len(numbers):
        raise ValueError(
            f"no box is trainable once the longer side has {args.long_side} px: give a greater --long-side"
        )
    begin(args.out, args, images.take(numbers))
    if absent := left_out(dataset):
        print(summary("left out for their labels", absent))
    count = -(-len(numbers) // args.images_per_shard)
    with (
        ShardWriter(dataset, images, args.format, args.quality, args.threads) as writer,
        tqdm(total=len(numbers), unit="img", desc="packing") as bar,
    ):
        for shard, part in enumerate(np.array_split(numbers, np.arange(1, count) * args.images_per_shard)):
            path = args.out / f"shard-{shard:05d}.tar"
            if path.exists():
                bar.update(len(part))
            else:
                writer.write(path, part, bar.update)
    if writer.unreadable:
        print(summary("left out as unreadable", writer.unreadable))
    print(f"{args.out} holds {count} shards")
    return 0
