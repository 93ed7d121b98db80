"""The user's cache of files made from weights, each kind in a folder of its own.

The cache is ``$XDG_CACHE_HOME/dytrack_ros`` (by default ``~/.cache/dytrack_ros``) and may be deleted at any time. An
entry is a folder whose name depends on everything that its content depends on. It appears complete or not at all; a
damaged one is made again. A process that needs an entry waits while another one makes it. Where nothing can be
written, an entry is made in a temporary folder, for this process only. Unfinished entries of killed processes are
removed when the next entry is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

KEPT_ENTRIES = 8  # of each kind, the most recently used; the ONNX graphs of dytrack_small take 130 MB in fp32

_log = logging.getLogger(__name__)


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of entries: ``graphs``, ``plans``, ``int8`` or ``costs``. It need not exist.

    Raises OSError where neither XDG_CACHE_HOME nor a home folder is known.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # A relative path counts as unset, says the XDG Base Directory Specification.
        root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        raise OSError("this user has no home folder: set XDG_CACHE_HOME to a folder that can be written") from None
    return root / "dytrack_ros" / kind


@contextlib.contextmanager
def cached(kind: str, name: str, write: Callable[[Path], None], check: Callable[[Path], object]) -> Iterator[Path]:
    """Give an entry of the cache, made by ``write`` if it is missing or damaged.

    Args:
        kind, name: which entry.
        write: fills the empty folder that it is given.
        check: raises ValueError for a damaged folder.

    Yields:
        A complete folder, guaranteed to exist only inside the ``with`` statement.

    Raises:
        OSError: neither the cache nor the temporary folder can be written; both are named.
    """
    try:
        folder = cache_folder(kind) / name
        _remove_partial_entries(folder.parent)
        if not _is_complete(folder, check):
            _make(folder, write, check)
        mark_used(folder)
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        reason = f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}: {error}"
        _warn_unwritable(kind, reason)
        with tempfile.TemporaryDirectory(prefix="dytrack_ros-", ignore_cleanup_errors=True) as temporary:
            try:
                write(Path(temporary))
            except OSError as second:
                raise OSError(
                    f"the {kind} cannot be written in {tempfile.gettempdir()} ({second}), nor in the cache ({reason}): "
                    "free some space, or set XDG_CACHE_HOME"
                ) from second
            yield Path(temporary)
    else:
        yield folder


def replace_cached(folder: Path, write: Callable[[Path], None]) -> None:
    """Make an entry of the cache anew by ``write``; if that fails, the old entry stays.

    Raises OSError, which names the cache, where nothing can be written.
    """
    try:
        _make(folder, write, None)
    except OSError as error:
        raise OSError(f"the cache {folder.parent} cannot be written ({error})") from error


def mark_used(folder: Path) -> None:
    """Note that an entry was used now: the entries unused for longest are removed first."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def _make(folder: Path, write: Callable[[Path], None], check: Callable[[Path], object] | None) -> None:
    """Make an entry unless ``check`` finds that another process has just made it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(folder, "partial")
    with FileLock(_beside(folder, "lock")):
        if check is not None and _is_complete(folder, check):
            return
        shutil.rmtree(partial, ignore_errors=True)  # left behind by a process that was killed
        partial.mkdir()
        try:
            write(partial)
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _tidy(folder.parent)


def _is_complete(folder: Path, check: Callable[[Path], object]) -> bool:
    if not folder.is_dir():
        return False
    try:
        check(folder)
    except ValueError as error:
        _log.warning("%s; it is made again", error)
        return False
    return True


def _remove_partial_entries(root: Path) -> None:
    """Remove the unfinished entries of killed processes."""
    for partial in root.glob(".*.partial"):
        with (
            contextlib.suppress(OSError, NotImplementedError, Timeout),
            FileLock(partial.with_suffix(".lock"), timeout=0),
        ):
            shutil.rmtree(partial, ignore_errors=True)


def _tidy(root: Path) -> None:
    """Remove the entries that were not used for longest."""
    entries = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in entries[KEPT_ENTRIES:]:
        shutil.rmtree(path, ignore_errors=True)
        _beside(path, "lock").unlink(missing_ok=True)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")


@functools.cache
def _warn_unwritable(kind: str, reason: str) -> None:
    """Warn once for each reason."""
    _log.warning(
        "the cache of %s cannot be used (%s): they are made at each start, in %s; set XDG_CACHE_HOME",
        kind,
        reason,
        tempfile.gettempdir(),
    )
