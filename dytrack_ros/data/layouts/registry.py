"""Which layouts there are, which one a folder has, and what all of them need after reading."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dytrack_ros.data.layouts import got10k, lasot, nfs, otb, tnl2k, trackingnet, uav123, vot
from dytrack_ros.data.layouts.files import Layout
from dytrack_ros.data.sequences import Sequence, check_start, load_sequences, number_lines

AUTO = "auto"


def _recognises_plain(folder: Path) -> bool:
    return any(folder.glob("*/groundtruth.txt"))


PLAIN = Layout("plain", "NAME/groundtruth.txt and NAME/img/*", _recognises_plain, load_sequences)

# The telling ones first: `auto` takes the first that recognises the folder.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *lasot.LAYOUTS, *got10k.LAYOUTS, *trackingnet.LAYOUTS, *uav123.LAYOUTS, *nfs.LAYOUTS, *tnl2k.LAYOUTS, *otb.LAYOUTS,
        *vot.LAYOUTS, PLAIN,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """The sequences of a folder and the layout that it has."""

    folder: Path
    layout: Layout
    sequences: list[Sequence]

    @property
    def description(self) -> str:
        """What was read, and whether it is the whole official set."""
        name, count, size = self.layout.name, len(self.sequences), self.layout.size
        text = f"{name}, {count} sequence{'' if count == 1 else 's'}"
        if size is None or count == size:
            return text
        note = f": {self.layout.subset_note}" if count > size and self.layout.subset_note else ""
        return f"{text} (the official set has {size}{note})"


def load_dataset(folder: str | Path, name: str = AUTO, attributes: str | Path | None = None) -> Dataset:
    """Reads ``folder`` in the layout ``name``, a key of :data:`LAYOUTS`, or in the one that it seems to have.

    ``attributes`` is a folder of the dataset's attribute files where these lie elsewhere. Raises FileNotFoundError or
    ValueError that say what was expected where.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no sequences in {folder}: it is no folder")
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
    """Raises FileNotFoundError with what would be recognised."""
    for layout in LAYOUTS.values():
        if layout.recognises(folder):
            return layout
    known = "".join(f"\n  {layout.name}: {layout.expected}" for layout in LAYOUTS.values())
    raise FileNotFoundError(f"no sequences in {folder} in any known layout:{known}")


def with_attributes(
    sequences: list[Sequence], layout: Layout, folder: Path, given: str | Path | None
) -> list[Sequence]:
    """The sequences with the attributes that the files in ``given`` name, or those beside the dataset, if any."""
    if given is not None and not layout.attribute_names:
        raise ValueError(f"--attributes {given}: {layout.name} has no attribute files")
    candidates = [Path(given)] if given is not None else [folder / path for path in layout.attribute_folders]
    found = next((path for path in candidates if any(path.glob("*.txt"))), None)
    if found is None:
        if given is not None:
            raise FileNotFoundError(f"--attributes {given}: no files there; expected NAME.txt, a number an attribute")
        return sequences
    files = {_spelling(path.stem): path for path in found.glob("*.txt")}
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
    """Toolkits write jogging-1, Jogging.1 and Jogging_1, and TNL2K NAME_attribute."""
    return name.lower().removesuffix("_attribute").replace(".", "-").replace("_", "-")
