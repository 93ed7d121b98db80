"""The network as a folder of ONNX graphs: names, files, manifest, the cached folder, and the engines that run them.

======================  =========================================  =========================================
graph                   inputs                                     outputs
======================  =========================================  =========================================
``embed_template``      ``template``                               ``template_tokens``
``advance_1``           ``search``, ``template_tokens``            ``tokens_1``, ``recycled_1``, ``score_1``
``advance_k``           ``tokens_{k-1}``, ``recycled_{k-1}``       ``tokens_k``, ``recycled_k``, ``score_k``
``locate_k``            ``recycled_k``                             ``heat_k``
======================  =========================================  =========================================

Exits count from 1 here. A value has the same name in all graphs. The last exit has no ``tokens``, and graphs without
feature recycling take no ``recycled``. Crops are uint8 (H, W, 3), scores (1,) and heat maps (1, 2, H, W) fp32.
"""

from __future__ import annotations

import contextlib
import json
import logging
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dytrack_ros.engines.base import Engine, check_device
from dytrack_ros.engines.cache import cache_folder, cached, mark_used
from dytrack_ros.engines.requirements import EXPORT_PACKAGES, not_installed
from dytrack_ros.model.weight_files import load_config, resolve_weights
from dytrack_ros.utils import file_sha256
from dytrack_ros.version import __version__

MANIFEST = "graphs.json"
GRAPHS_VERSION = 3  # raise it when the graphs of the same weights change
PRECISIONS = ("fp32", "fp16")

_log = logging.getLogger(__name__)


class Crops(NamedTuple):
    """A template and a search region with its target in it: uint8 RGB of the network's sizes."""

    template: NDArray[np.uint8]
    search: NDArray[np.uint8]


class GraphEngine(Engine):
    """An engine that runs the graphs of this module; a subclass stores their values and runs them."""

    @abstractmethod
    def _put(self, value: str, crop: NDArray[np.uint8]) -> None:
        """Store a copy of a crop as the value of this name."""

    @abstractmethod
    def _run(self, graph: str) -> None:
        """Run a graph on the stored values; store its outputs."""

    @abstractmethod
    def _get(self, value: str) -> NDArray[Any]:
        """Return a copy of a stored value, float32 of any shape."""

    def _take_template(self, template: NDArray[np.uint8]) -> None:
        self._put("template", template)
        self._run("embed_template")

    def _take_search(self, search: NDArray[np.uint8]) -> None:
        self._put("search", search)

    def _run_stage(self, position: int) -> float:
        self._run(f"advance_{position + 1}")
        return self._get(f"score_{position + 1}").item()  # type: ignore[no-any-return]

    def _run_head(self, position: int) -> NDArray[np.float32]:
        self._run(f"locate_{position + 1}")
        return self._get(f"heat_{position + 1}").reshape(2, self.search_grid, self.search_grid)


class OnnxGraphEngine(GraphEngine):
    """An engine that runs the ONNX graphs on the CPU, without torch.

    Args:
        weights, device, threads, precision: as in :func:`dytrack_ros.engines.create_engine`.
        graphs: a folder written by ``export`` (for int8 by ``quantise``) from these weights. Without it the graphs are
            taken from the user's cache; those in fp32 are made there, with torch, if they are missing.

    Raises:
        ValueError: a device other than the CPU, a file that is not one of our weights, a folder that is damaged or was
            made from other weights.
        FileNotFoundError: there are no int8 graphs.
    """

    device = "cpu"

    def __init__(
        self,
        weights: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "auto",
        graphs: str | Path | None = None,
    ) -> None:
        check_device(device)
        if device.startswith("cuda"):
            raise ValueError(
                f"engine {self.name!r} runs on the CPU: for device {device!r} use engine 'torch' or 'tensorrt'"
            )
        path = resolve_weights(weights)
        super().__init__(load_config(path))
        self.precision = precision
        if graphs is not None:
            read_manifest(Path(graphs), path)
            self._load(Path(graphs), threads)
        elif precision == "int8":
            self._load(existing_int8_graphs(path), threads)
        else:
            with cached_graphs(path) as folder:
                self._load(folder, threads)
        self._reference_answers()  # so that the first frame takes no longer than the others

    @abstractmethod
    def _load(self, folder: Path, threads: int | None) -> None:
        """Load every graph of the folder, which may be gone afterwards."""


def graph_names(exit_count: int) -> list[str]:
    """Return the names of all graphs; a graph comes after those whose outputs it needs."""
    exits = range(1, exit_count + 1)
    return ["embed_template", *(f"advance_{k}" for k in exits), *(f"locate_{k}" for k in exits)]


def value_names(exit_count: int) -> frozenset[str]:
    """Return the names of all inputs and outputs of the graphs."""
    of_exits = (f"{value}_{k}" for value in ("tokens", "recycled", "score", "heat") for k in range(1, exit_count + 1))
    return frozenset({"template", "template_tokens", "search", *of_exits})


def graph_file(folder: Path, name: str) -> Path:
    """Return the ONNX file of a graph."""
    return folder / f"{name}.onnx"


def int8_file(folder: Path, name: str) -> Path:
    """Return the file of a quantised graph, in OpenVINO's format; its weights are beside it as ``.bin``."""
    return folder / f"{name}.xml"


def write_manifest(folder: Path, files: Iterable[Path], facts: dict[str, Any]) -> None:
    """Write the manifest of a folder: ``facts``, and the SHA-256 of each of ``files``."""
    hashes = {path.name: file_sha256(path) for path in files}
    document = {"graphs_version": GRAPHS_VERSION, **facts, "files": hashes}
    (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n")


def read_manifest(folder: Path, weights: Path | None = None) -> dict[str, Any]:
    """Read the manifest of a folder and check its files.

    Raises ValueError if a file is not as it was written, if the graphs are of another version, or if they were not made
    from ``weights``.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        changed = [name for name, expected in facts["files"].items() if file_sha256(folder / name) != expected]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is not a complete folder of graphs: {error}") from None
    if changed:
        raise ValueError(f"{folder} is damaged: {', '.join(changed)} changed after it was written")
    if facts.get("graphs_version") != GRAPHS_VERSION:
        raise ValueError(
            f"{folder} has graphs of version {facts.get('graphs_version')}, not {GRAPHS_VERSION}: export again"
        )
    if weights is not None and facts.get("weights_sha256") != file_sha256(weights):
        raise ValueError(f"the graphs in {folder} were not exported from {weights}: export them again")
    return facts


def write_graphs(weights: Path, folder: Path, precision: str = "fp32") -> None:
    """Write all graphs of a weights file and their manifest into an existing folder, with torch and onnx.

    ``precision`` is that of the weights and of all layers but three: layer norms, the sigmoid of the score and the
    log-softmax of the heat maps are computed in fp32 in either case. Raises ImportError where a package is missing.
    """
    if missing := not_installed(EXPORT_PACKAGES):
        raise ImportError(
            f"making the graphs of {weights} needs, once: pip install {' '.join(missing)}; or make them on another "
            f"machine by `dytrack export --cache --precision {precision}` and copy its cache folder"
        )
    from dytrack_ros.engines.onnx_export import export

    facts, graphs = export(weights, precision)
    files = []
    for name, content in graphs:
        files.append(graph_file(folder, name))
        files[-1].write_bytes(content)
    facts |= {"weights": weights.name, "weights_sha256": file_sha256(weights), "precision": precision}
    write_manifest(folder, files, facts)


def cached_graphs(weights: Path, precision: str = "fp32") -> contextlib.AbstractContextManager[Path]:
    """Give the cached folder of the graphs of a weights file, made if need be (in some twenty seconds).

    The folder is guaranteed to exist only inside the ``with`` statement. Raises ImportError where the graphs must be
    made and torch or onnx is missing.
    """

    def write(folder: Path) -> None:
        _log.info("making the graphs of %s (%s), once", weights, precision)
        write_graphs(weights, folder, precision)

    return cached("graphs", entry_name(weights, precision), write, read_manifest)


def int8_folder(weights: Path) -> Path:
    """Return the cached folder of the quantised graphs of a weights file. Only ``quantise`` makes it."""
    return cache_folder("int8") / entry_name(weights, "int8")


def existing_int8_graphs(weights: Path) -> Path:
    """Return the cached folder of the quantised graphs.

    Raises FileNotFoundError or ValueError, with the command to run, where it is missing or damaged.
    """
    folder = int8_folder(weights)
    advice = (
        f"make them: dytrack quantise --model {weights} --data SHARDS, or copy {folder} from a machine that has them"
    )
    if not (folder / MANIFEST).exists():
        raise FileNotFoundError(f"precision 'int8' needs quantised graphs, which are missing in {folder}; {advice}")
    try:
        read_manifest(folder, weights)
    except ValueError as error:
        raise ValueError(f"{error}; {advice}") from None
    mark_used(folder)
    return folder


def entry_name(weights: Path, precision: str) -> str:
    """Return the name of the cached folder of graphs, which depends on all that their content depends on."""
    return f"{file_sha256(weights)[:32]}-{__version__}-{GRAPHS_VERSION}-{precision}"
