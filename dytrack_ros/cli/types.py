"""Argument types that several subcommands share.

A type raises ``argparse.ArgumentTypeError`` for a value out of range.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)


def _number(kind: type[Number], fits: Callable[[Number], bool], allowed: str) -> Callable[[str], Number]:
    def convert(text: str) -> Number:
        value = kind(text)
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text} must {allowed}")
        return value

    convert.__name__ = kind.__name__  # for argparse: "invalid float value"
    return convert


positive = _number(float, lambda value: math.isfinite(value) and value > 0, "be positive")
at_least_zero = _number(float, lambda value: math.isfinite(value) and value >= 0, "be 0 or more")
at_least_one = _number(int, lambda value: value >= 1, "be at least 1")
growth = _number(float, lambda value: value >= 1, "be 1 or more")
unit_interval = _number(float, lambda value: 0 <= value <= 1, "lie in [0, 1]")
below_one = _number(float, lambda value: 0 <= value < 1, "lie in [0, 1)")


def named_folder(text: str) -> tuple[str, Path]:
    """``NAME=FOLDER`` or ``FOLDER``, whose last part is then the name."""
    name, is_named, folder = text.partition("=")
    path = Path(folder if is_named else text)
    return (name if is_named else path.resolve().name), path
