"""The network as a folder of ONNX graphs: their names, and the manifest that tells a whole folder from a broken one.

``embed_template``: template -> template_tokens.  ``advance_1``: search, template_tokens -> tokens_1, recycled_1,
score_1.  ``advance_k``: tokens_{k-1}, recycled_{k-1} -> tokens_k, recycled_k, score_k (the last without tokens).
``locate_k``: recycled_k -> box_k.  Exits count from 1 here; a value has the same name in all graphs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dytrack_ros.utils import file_sha256

MANIFEST = "graphs.json"
GRAPHS_VERSION = 2  # to be raised when the graphs of the same weights change
PRECISIONS = ("fp32", "fp16")


class Crops(NamedTuple):
    """A template and a search region in which its target is: uint8 RGB of the network's sizes."""

    template: np.ndarray
    search: np.ndarray


def graph_names(exit_count: int) -> list[str]:
    """Names of all graphs, those that make a value before those that need it."""
    exits = range(1, exit_count + 1)
    return ["embed_template", *(f"advance_{k}" for k in exits), *(f"locate_{k}" for k in exits)]


def value_names(exit_count: int) -> frozenset[str]:
    """Names of all inputs and outputs of the graphs."""
    of_exits = (f"{value}_{k}" for value in ("tokens", "recycled", "score", "box") for k in range(1, exit_count + 1))
    return frozenset({"template", "template_tokens", "search", *of_exits})


def graph_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.onnx"


def int8_file(folder: Path, name: str) -> Path:
    """A quantised graph, in OpenVINO's own format; its weights lie beside it as ``.bin``."""
    return folder / f"{name}.xml"


def reference_crop(size: int) -> np.ndarray:
    """A picture of blotches, uint8 (size, size, 3), from which the answers in the manifest come: the same everywhere."""
    y, x, channel = np.mgrid[:size, :size, :3] // np.array([32, 32, 1]).reshape(3, 1, 1, 1)
    return ((97 * x + 61 * y + 89 * channel) * 57 % 256).astype(np.uint8)


def write_manifest(folder: Path, files: Iterable[Path], facts: dict) -> None:
    """Writes the manifest: ``facts`` and the SHA-256 of each of these files of the folder."""
    files = {path.name: file_sha256(path) for path in files}
    (folder / MANIFEST).write_text(
        json.dumps({"graphs_version": GRAPHS_VERSION, **facts, "files": files}, indent=2) + "\n"
    )


def read_manifest(folder: Path, weights: Path | None = None) -> dict:
    """The manifest of a folder whose files are as they were written, from these weights if any are given.

    Raises ValueError saying what is wrong otherwise.
    """
    try:
        facts = json.loads((folder / MANIFEST).read_text())
        broken = [name for name, expected in facts["files"].items() if file_sha256(folder / name) != expected]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is no folder of graphs: {error}") from None
    if broken:
        raise ValueError(f"{folder} is damaged: {', '.join(broken)} changed after it was written")
    if facts.get("graphs_version") != GRAPHS_VERSION:
        raise ValueError(
            f"{folder} has graphs of version {facts.get('graphs_version')}, not {GRAPHS_VERSION}: export again"
        )
    if weights is not None and facts.get("weights_sha256") != file_sha256(weights):
        raise ValueError(f"the graphs in {folder} were not exported from {weights}: export them again")
    return facts
