"""What ``--data`` takes: shards, folders of shards, and public data sets in their makers' layouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dytrack_ros.data.datasets import Dataset, FolderDataset, JoinedDataset, ShardDataset, expand_shards
from dytrack_ros.data.still_readers import coco, voc
from dytrack_ros.data.video_readers import got10k, lasot, trackingnet

READERS = {"lasot": lasot, "got10k": got10k, "trackingnet": trackingnet, "coco": coco, "voc": voc}
DATA_HELP = ".tar shards, folders of them, or NAME:FOLDER with a name of " + ", ".join(READERS)


def names_reader(item: str) -> bool:
    """Whether an item of ``--data`` is ``NAME:FOLDER`` rather than a path to shards."""
    return item.partition(":")[0] in READERS and not Path(item).exists()


def open_data(items: Sequence[str]) -> Dataset:
    """All items of ``--data`` as one data set.

    Raises FileNotFoundError or ValueError, which say what is missing.
    """
    shards = [item for item in items if not names_reader(item)]
    parts: list[Dataset] = [ShardDataset(expand_shards(shards))] if shards else []
    for item in items:
        if names_reader(item):
            name, _, folder = item.partition(":")
            if not Path(folder).is_dir():
                raise FileNotFoundError(f"{item}: there is no folder {folder!r}")
            parts.append(READERS[name](Path(folder)))
    return parts[0] if len(parts) == 1 else JoinedDataset(parts)


def left_out(dataset: Dataset) -> list[str]:
    """What the readers left out, an entry for each video or image, and why."""
    if isinstance(dataset, JoinedDataset):
        return [entry for part in dataset.parts for entry in left_out(part)]
    return list(dataset.left_out) if isinstance(dataset, FolderDataset) else []


def summary(what: str, entries: Sequence[str], shown: int = 3) -> str:
    """One line for many things that went wrong: how many, and the first few."""
    more = "; ..." if len(entries) > shown else ""
    return f"{what}: {len(entries)} ({'; '.join(entries[:shown])}{more})"
