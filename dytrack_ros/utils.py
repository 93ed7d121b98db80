"""Small helpers that every package uses."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def one_line(error: BaseException) -> str:
    """Return an error's type and message on one line, for logs and diagnostics."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
