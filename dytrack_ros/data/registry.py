"""All data sets that are read: for evaluation (sequences), for training (labelled images), or for both."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Listing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dytrack_ros.data import got10k, lasot, nfs, otb, sequences, stills, tnl2k, trackingnet, uav123, vot
from dytrack_ros.data.datasets import FolderDataset, ImageDataset, JoinedDataset, video_dataset
from dytrack_ros.data.files import files_in, number_lines
from dytrack_ros.data.sequences import Layout, Sequence, check_start
from dytrack_ros.data.shards import ShardDataset, expand_shards

AUTO = "auto"

# `auto` takes the first that recognises the folder, so layouts with many marks come first.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for module in (lasot, got10k, trackingnet, uav123, nfs, tnl2k, otb, vot, sequences)
    for layout in module.LAYOUTS
}


def _videos(source: str, videos: Callable[[Path], dict[str, Callable[[], Sequence]]], root: Path) -> FolderDataset:
    return video_dataset(source, videos(root))


TRAINING_READERS: dict[str, Callable[[Path], FolderDataset]] = {
    "lasot": partial(_videos, "lasot", lasot.training_videos),
    "got10k": partial(_videos, "got10k", got10k.training_videos),
    "trackingnet": partial(_videos, "trackingnet", trackingnet.training_videos),
    "coco": stills.coco,
    "voc": stills.voc,
    "plain": partial(_videos, "plain", sequences.training_videos),
}
DATA_HELP = ".tar shards, folders of them, or NAME:FOLDER with a name of " + ", ".join(TRAINING_READERS)


# --- training --------------------------------------------------------------------------------------------------------


def names_reader(item: str) -> bool:
    """Whether an item of ``--data`` is ``NAME:FOLDER`` and not a path to shards."""
    return item.partition(":")[0] in TRAINING_READERS and not Path(item).exists()


def open_data(items: Listing[str]) -> ImageDataset:
    """Opens all items of ``--data`` as one data set.

    Raises FileNotFoundError or ValueError that say what is missing, or that a data set is for evaluation alone.
    """
    shards = [item for item in items if not names_reader(item)]
    for item in shards:
        name = item.partition(":")[0]
        if name in LAYOUTS and not Path(item).exists():
            raise ValueError(
                f"{item}: {name} is for evaluation and not for training; there are {', '.join(TRAINING_READERS)}"
            )
    parts: list[ImageDataset] = [ShardDataset(expand_shards(shards))] if shards else []
    for item in items:
        if names_reader(item):
            name, _, folder = item.partition(":")
            if not Path(folder).is_dir():
                raise FileNotFoundError(f"{item}: there is no folder {folder!r}")
            parts.append(TRAINING_READERS[name](Path(folder)))
    return parts[0] if len(parts) == 1 else JoinedDataset(parts)


def left_out(dataset: ImageDataset) -> list[str]:
    """An entry, with the reason, for each video or image that the readers left out."""
    if isinstance(dataset, JoinedDataset):
        return [entry for part in dataset.parts for entry in left_out(part)]
    return list(dataset.left_out) if isinstance(dataset, FolderDataset) else []


def summary(what: str, entries: Listing[str], shown: int = 3) -> str:
    """One line about many problems: their number, and the first few."""
    more = "; ..." if len(entries) > shown else ""
    return f"{what}: {len(entries)} ({'; '.join(entries[:shown])}{more})"


# --- evaluation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dataset:
    """The sequences of a folder, and its layout."""

    folder: Path
    layout: Layout
    sequences: list[Sequence]

    @property
    def description(self) -> str:
        """Layout and number of sequences, and whether that is the whole official set."""
        name, count, size = self.layout.name, len(self.sequences), self.layout.size
        text = f"{name}, {count} sequence{'' if count == 1 else 's'}"
        if size is None or count == size:
            return text
        note = f": {self.layout.subset_note}" if count > size and self.layout.subset_note else ""
        return f"{text} (the official set has {size}{note})"


def load_dataset(folder: str | Path, name: str = AUTO, attributes: str | Path | None = None) -> Dataset:
    """Reads ``folder`` in the layout ``name``, a key of :data:`LAYOUTS`; for ``auto`` in the layout that it looks like.

    ``attributes`` is a folder of the data set's attribute files, if they lie elsewhere. Raises FileNotFoundError or
    ValueError that say what was expected where.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no sequences in {folder}: it is not a folder")
    layout = recognised_layout(folder) if name == AUTO else LAYOUTS.get(name)
    if layout is None:
        raise ValueError(f"unknown dataset {name!r}; there are {', '.join(LAYOUTS)} and {AUTO}")
    sequences = layout.load(folder)
    if not sequences:
        raise FileNotFoundError(f"no sequences in {folder}: expected {layout.expected} ({layout.name})")
    for sequence in sequences:
        check_start(sequence, sequence.frames[0].parent)
    return Dataset(folder, layout, with_attributes(sequences, layout, folder, attributes))


def recognised_layout(folder: Path) -> Layout:
    """The first layout that recognises ``folder``. Raises FileNotFoundError that lists what would be recognised."""
    for layout in LAYOUTS.values():
        if layout.recognises(folder):
            return layout
    known = "".join(f"\n  {layout.name}: {layout.expected}" for layout in LAYOUTS.values())
    raise FileNotFoundError(f"no sequences in {folder} in any known layout:{known}")


def with_attributes(
    sequences: list[Sequence], layout: Layout, folder: Path, given: str | Path | None
) -> list[Sequence]:
    """Adds the attributes from the files in ``given``, or from those of the data set, if there are any."""
    if given is not None and not layout.attribute_names:
        raise ValueError(f"--attributes {given}: {layout.name} has no attribute files")
    candidates = [Path(given)] if given is not None else [folder / path for path in layout.attribute_folders]
    found = next((path for path in candidates if files_in(path, "*.txt")), None)
    if found is None:
        if given is not None:
            raise FileNotFoundError(f"--attributes {given}: no files there; expected NAME.txt, a number an attribute")
        return sequences
    files = {_spelling(path.stem): path for path in files_in(found, "*.txt")}
    return [_with_attributes(sequence, layout, found, files) for sequence in sequences]


def _with_attributes(sequence: Sequence, layout: Layout, found: Path, files: dict[str, Path]) -> Sequence:
    path = files.get(_spelling(sequence.name))
    if path is None:
        raise FileNotFoundError(f"{found / sequence.name}.txt is missing, where other sequences have their attributes")
    names = layout.attribute_names
    values = [value for _, row in number_lines(path, "a number an attribute") for value in row]
    if len(values) != len(names):
        raise ValueError(f"{path} has {len(values)} numbers; {layout.name} has {len(names)} attributes")
    return replace(sequence, attributes=tuple(name for name, value in zip(names, values, strict=True) if value > 0))


def _spelling(name: str) -> str:
    """One spelling of jogging-1, Jogging.1, Jogging_1, and of TNL2K's NAME_attribute."""
    return name.lower().removesuffix("_attribute").replace(".", "-").replace("_", "-")
