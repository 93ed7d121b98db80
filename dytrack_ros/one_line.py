"""Errors in words, for logs and diagnostics."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """An error's type and text in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
