"""Argument types that several subcommands share.

A type raises ``argparse.ArgumentTypeError`` for a value out of range.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def positive(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} must be positive")
    return value


def at_least_one(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def unit_interval(text: str) -> float:
    """A number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie in [0, 1]")
    return value


def below_one(text: str) -> float:
    """A number in [0, 1)."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} must lie in [0, 1)")
    return value


def named_folder(text: str) -> tuple[str, Path]:
    """``NAME=FOLDER`` or ``FOLDER``, whose last part is then the name."""
    name, is_named, folder = text.partition("=")
    path = Path(folder if is_named else text)
    return (name if is_named else path.resolve().name), path
