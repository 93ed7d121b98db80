"""Dataclass fields that carry their help text and their range; ``cli/train.py`` makes its options from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    type: type | None = None,
) -> Any:
    """A dataclass field with ``help``; numbers must lie in [``low``, ``high``], others be one of ``choices``.

    ``type`` is needed where the default is None. None is always allowed there.
    """
    kind = type or default.__class__
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "type": kind}
    return dataclasses.field(default=default, metadata=metadata)


def options_of(config: Any) -> list[dataclasses.Field]:
    """The fields of a dataclass (or of an instance) that :func:`option` has made."""
    return [field for field in dataclasses.fields(config) if "help" in field.metadata]


def check_options(config: Any) -> None:
    """Raises ValueError with the name, the value and what is allowed for the first value out of range."""
    for field in options_of(config):
        value, (low, high, choices) = getattr(config, field.name), (field.metadata[key] for key in _LIMITS)
        if choices is not None and value not in choices:
            raise ValueError(f"{field.name} {value!r} must be one of {', '.join(map(str, choices))}")
        if value is None:
            continue
        if high is not None and not low <= value <= high:
            raise ValueError(f"{field.name} {value} must lie in [{low}, {high}]")
        if low is not None and not value >= low:
            raise ValueError(f"{field.name} {value} must be at least {low}")


_LIMITS = ("low", "high", "choices")
