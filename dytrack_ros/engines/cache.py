"""Where the graphs of a weights file, and what is built from them, are kept, so that they are made only once.

``$XDG_CACHE_HOME/dytrack_ros/graphs`` (``~/.cache`` where it is not set) has one folder for each content of a weights
file, precision and version of this package, and its neighbours ``plans`` and ``int8`` have TensorRT's and quantised
ones. All may be deleted at any time. A folder appears whole or not at all, a damaged one is replaced, and where
nothing can be written its content is made anew for each process.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dytrack_ros.version import __version__
from dytrack_ros.engines.onnx_graphs import GRAPHS_VERSION, MANIFEST, read_manifest
from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.utils import file_sha256

KEPT_FOLDERS = 8  # of each kind, the most recently used; graphs of dytrack_small take 130 MB in fp32
ABANDONED_AFTER_S = 24 * 3600.0

_log = logging.getLogger(__name__)


def cache_folder(kind: str = "graphs") -> Path:
    """The user's cache of ``graphs``, ``plans`` or ``int8``; need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The standard: a relative path counts as unset.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "dytrack_ros" / kind


def cached_graphs(weights: Path, precision: str = "fp32") -> contextlib.AbstractContextManager[Path]:
    """The folder with the graphs of a weights file, made if need be (some ten seconds, with torch and onnx).

    It is guaranteed to exist only inside the ``with`` statement. Raises ImportError where they must be made and torch
    or onnx is not installed.
    """
    folder = cache_folder() / _folder_name(weights, precision)
    return cached(folder, functools.partial(_write_graphs, weights, precision=precision))


def int8_folder(weights: Path) -> Path:
    """Where the quantised graphs of a weights file belong; need not exist, since only ``quantise`` makes them."""
    return cache_folder("int8") / _folder_name(weights, "int8")


def existing_int8_graphs(weights: Path) -> Path:
    """The folder with the quantised graphs. Raises FileNotFoundError or ValueError that tells the command to run."""
    folder = int8_folder(weights)
    advice = f"make them: quantise --model {weights} --data SHARDS, or copy {folder} from a machine that has them"
    if not (folder / MANIFEST).exists():
        raise FileNotFoundError(f"precision 'int8' needs graphs that are not there yet ({folder}); {advice}")
    try:
        read_manifest(folder, weights)
    except ValueError as error:
        raise ValueError(f"{error}; {advice}") from None
    with contextlib.suppress(OSError):
        os.utime(folder)
    return folder


def replace_cached(folder: Path, write: Callable[[Path], None]) -> None:
    """Puts what ``write`` makes and writes the manifest in this folder's place in the cache; where it fails the old one stays.

    Raises OSError where nothing can be written, before ``write`` is called.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        write(partial)
        if folder.exists():
            folder.rename(partial.with_name(f"{partial.name}-damaged"))  # the end of its name has it tidied away
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _tidy(folder.parent)


def _folder_name(weights: Path, precision: str) -> str:
    return f"{file_sha256(weights)[:32]}-{__version__}-{GRAPHS_VERSION}-{precision}"


@contextlib.contextmanager
def cached(folder: Path, write: Callable[[Path], None]) -> Iterator[Path]:
    """This folder of the cache, filled and complete by ``write`` if it is missing or damaged.

    It is guaranteed to exist only inside the ``with`` statement.
    """
    if _is_whole(folder):
        with contextlib.suppress(OSError):
            os.utime(folder)
        yield folder
        return
    with contextlib.ExitStack() as cleanup:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
            keep = True
        except OSError as error:
            _warn_unwritable(folder.parent, str(error))
            partial = Path(tempfile.mkdtemp(prefix="dytrack_ros-"))
            keep = False
        cleanup.callback(shutil.rmtree, partial, ignore_errors=True)
        write(partial)
        if keep and _publish(partial, folder):
            _tidy(folder.parent)
            yield folder
        else:
            yield partial


def _write_graphs(weights: Path, folder: Path, precision: str) -> None:
    absent = missing_packages("export")
    if absent:
        raise ImportError(
            f"making the graphs of {weights} needs, once: pip install {' '.join(absent)}; or make them on another "
            f"machine by `export --cache --precision {precision}` and copy {cache_folder()} from there"
        )
    from dytrack_ros.engines.onnx_export import write_graphs  # only here: it imports torch

    _log.info("making the graphs of %s (%s), once", weights, precision)
    write_graphs(weights, folder, precision)


def _is_whole(folder: Path) -> bool:
    if not (folder / MANIFEST).exists():
        return False
    try:
        read_manifest(folder)
    except ValueError as error:
        _log.warning("%s; it is made again", error)
        return False
    return True


def _publish(partial: Path, folder: Path) -> bool:
    """Gives the finished folder its name. False if that cannot be done: another process is at it, or the disk."""
    for _ in range(2):
        try:
            partial.rename(folder)
            return True
        except OSError:
            # There is one: a damaged one is moved out of the way, another process's serves just as well.
            if _is_whole(folder):
                return True
            with contextlib.suppress(OSError):
                folder.rename(partial.with_name(f"{partial.name}-damaged"))
    return False


def _tidy(root: Path) -> None:
    """Removes what a crash or a replacement left behind, and the folders that were not used for longest."""
    entries = [(path, path.stat().st_mtime) for path in root.iterdir() if path.is_dir()]
    left_behind = [
        path
        for path, changed in entries
        if path.name.startswith(".") and (path.name.endswith("-damaged") or time.time() - changed > ABANDONED_AFTER_S)
    ]
    finished = sorted((entry for entry in entries if not entry[0].name.startswith(".")), key=lambda entry: -entry[1])
    for path in [*left_behind, *(path for path, _ in finished[KEPT_FOLDERS:])]:
        shutil.rmtree(path, ignore_errors=True)


@functools.cache
def _warn_unwritable(folder: Path, reason: str) -> None:
    """Once: the cache is kept for what it returned."""
    _log.warning(
        "%s cannot be kept in %s (%s) and are made anew each time; set XDG_CACHE_HOME", folder.name, folder, reason
    )
