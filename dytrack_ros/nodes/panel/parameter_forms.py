"""Parameters for the page's controls, and what its controls give back for the parameter services."""

from __future__ import annotations

import math
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterType, ParameterValue

KINDS = {
    ParameterType.PARAMETER_BOOL: "bool",
    ParameterType.PARAMETER_INTEGER: "integer",
    ParameterType.PARAMETER_DOUBLE: "double",
    ParameterType.PARAMETER_STRING: "string",
}
_FIELDS = {
    ParameterType.PARAMETER_BOOL: "bool_value",
    ParameterType.PARAMETER_INTEGER: "integer_value",
    ParameterType.PARAMETER_DOUBLE: "double_value",
    ParameterType.PARAMETER_STRING: "string_value",
    ParameterType.PARAMETER_BYTE_ARRAY: "byte_array_value",
    ParameterType.PARAMETER_BOOL_ARRAY: "bool_array_value",
    ParameterType.PARAMETER_INTEGER_ARRAY: "integer_array_value",
    ParameterType.PARAMETER_DOUBLE_ARRAY: "double_array_value",
    ParameterType.PARAMETER_STRING_ARRAY: "string_array_value",
}
_INTEGERS = range(-(2**63), 2**63)


def form(descriptor: ParameterDescriptor, value: ParameterValue) -> dict[str, Any]:
    """What a page needs to show a parameter: `kind` is one of KINDS, or `other` for what it cannot change."""
    made = {
        "name": descriptor.name,
        "kind": KINDS.get(value.type, "other"),
        "value": plain(value),
        "description": descriptor.description,
        "read_only": descriptor.read_only,
        "choices": [],
    }
    # Any node may write prose there; of this package's, choices are separated by bars.
    if " | " in descriptor.additional_constraints:
        made["choices"] = descriptor.additional_constraints.split(" | ")
    for limits in (*descriptor.floating_point_range[:1], *descriptor.integer_range[:1]):
        made |= {"from": plain_number(limits.from_value), "to": plain_number(limits.to_value)}
    return made


def plain(value: ParameterValue) -> bool | int | float | str | None:
    """A value as JSON can hold it; lists as text."""
    field = _FIELDS.get(value.type)
    if field is None:
        return None
    held = getattr(value, field)
    if value.type in KINDS:
        return plain_number(held) if isinstance(held, float) else held
    return str(list(held))


def plain_number(value: float) -> float | str:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else str(value)


def parameter_message(name: str, kind: str, value: bool | int | float | str) -> Parameter:
    """The message that sets a parameter of this kind.

    Raises:
        ValueError: the value is of another kind.
    """
    types = {word: number for number, word in KINDS.items()}
    fits = {
        "bool": isinstance(value, bool),
        "integer": not isinstance(value, bool) and isinstance(value, int) and value in _INTEGERS,
        "double": not isinstance(value, bool) and isinstance(value, (int, float)),
        "string": isinstance(value, str),
    }
    if not fits.get(kind, False):
        raise ValueError(f"{name} must be a {kind}, not {str(value)[:40]!r}")
    message = ParameterValue(type=types[kind])
    setattr(message, _FIELDS[types[kind]], float(value) if kind == "double" else value)
    return Parameter(name=name, value=message)
