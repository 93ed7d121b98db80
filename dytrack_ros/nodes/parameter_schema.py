"""Parameter tables: each declares, checks and documents the parameters of one node."""

from __future__ import annotations

import array
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.parameter import Parameter as RosParameter

from dytrack_ros.nodes.run import RunnableNode

Value = bool | int | float | str | tuple[float, ...]

_TYPE_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string", tuple: "a list of numbers"}
# Parameters that rclpy declares itself.
_OF_RCLPY = ("use_sim_time", "start_type_description_service")


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is that of its default (a tuple stands for a list of as many doubles).

    Attributes:
        name: dotted, lower-case.
        minimum, maximum: the allowed range of a number, both included.
        choices: the allowed words of a string (empty: any).
        read_only: can only be set at start.
        from_model: the default is that of the model's calibration, if it has one.
    """

    name: str
    default: Value
    description: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False
    from_model: bool = False

    @property
    def allowed(self) -> str:
        """Describe the allowed values; empty if every value of the right type is allowed."""
        if self.minimum is not None:
            return f"{self.minimum} to {self.maximum}"
        return " | ".join(self.choices)

    def coerced(self, value: Any) -> Any:
        """Return a value of rclpy in the type of the table: integers as doubles, lists as tuples."""
        if isinstance(self.default, float) and type(value) is int:
            return float(value)
        if isinstance(self.default, tuple) and isinstance(value, (list, tuple, array.array)):
            return tuple(float(number) if type(number) is int else number for number in value)
        return value

    def complaint(self, value: Any) -> str:
        """Return why a value is refused, with what is allowed; empty if it is accepted."""
        if type(value) is not type(self.default) and not self.choices:
            return f"{self.name} must be {_TYPE_NAMES[type(self.default)]}, not {value!r}"
        if self.minimum is not None and not self.minimum <= value <= self.maximum:
            return f"{self.name} must be in {self.minimum} to {self.maximum}, not {value}"
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}, not '{value}'"
        if isinstance(self.default, tuple) and (
            len(value) != len(self.default)
            or not all(isinstance(each, float) and math.isfinite(each) for each in value)
        ):
            return f"{self.name} must be {len(self.default)} finite numbers, not {list(value)}"
        return ""


def complaint(table: Iterable[Parameter], values: Mapping[str, Any]) -> str:
    """Return why the first unacceptable of `values` (one for each name of the table) is refused; empty if none is."""
    return next(filter(None, (parameter.complaint(values[parameter.name]) for parameter in table)), "")


class LiveParameters:
    """Declares a table on a node and holds the values in force: `parameters["exit.tau_1"]`.

    A change is checked as a whole, then either refused with the allowed range or put in force before `on_change` is
    called. Changes come in the executor thread; other threads read the new values between frames. A parameter that was
    given at start under a name that resembles one of the table is logged with the right name.

    Raises:
        ValueError: a value given at start (command line, parameter file) is refused.
    """

    def __init__(self, node: RunnableNode, table: tuple[Parameter, ...]) -> None:
        self._node = node
        self._by_name = {parameter.name: parameter for parameter in table}
        self._on_change: Callable[[], None] = lambda: None
        given = {
            name: parameter.value
            for name, parameter in node.get_parameters_by_prefix("").items()
            if name not in _OF_RCLPY
        }
        for name in given:
            node.undeclare_parameter(name)  # to be declared with a descriptor, if at all
            if name not in self._by_name and (nearest := difflib.get_close_matches(name, self._by_name, 1)):
                node.get_logger().warning(f"there is no parameter {name}; did you mean {nearest[0]}?")
        self._given = frozenset(given)
        self._values: dict[str, Any] = {p.name: p.coerced(given.get(p.name, p.default)) for p in table}
        if reason := complaint(table, self._values):
            raise ValueError(reason)
        for parameter in table:
            _declare(node, parameter, self._values[parameter.name])
        # This hook exists in every distribution; the post-set one only since Iron.
        node.add_on_set_parameters_callback(self._set)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def set_model_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Set these parameters, except those that were given at start."""
        absent = [RosParameter(name, value=value) for name, value in defaults.items() if name not in self._given]
        self._node.set_parameters(absent)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every accepted change."""
        self._on_change = callback

    def _set(self, changed) -> SetParametersResult:
        of_table = [(self._by_name[new.name], new.value) for new in changed if new.name in self._by_name]
        values = self._values | {parameter.name: parameter.coerced(value) for parameter, value in of_table}
        if reason := complaint(self._by_name.values(), values):
            return SetParametersResult(successful=False, reason=reason)
        self._values = values
        self._on_change()
        return SetParametersResult(successful=True)


def _declare(node: RunnableNode, parameter: Parameter, value: Any) -> None:
    descriptor = ParameterDescriptor(
        description=parameter.description,
        read_only=parameter.read_only,
        additional_constraints=" | ".join(parameter.choices),
    )
    if parameter.choices:  # rqt_reconfigure shows the description only
        descriptor.description += f" One of: {', '.join(parameter.choices)}."
    if isinstance(parameter.default, float):
        # A step of 0 allows every value of the range; rclpy refuses values between two steps of any other.
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=parameter.minimum, to_value=parameter.maximum, step=0.0)
        ]
    elif parameter.minimum is not None:
        descriptor.integer_range = [IntegerRange(from_value=parameter.minimum, to_value=parameter.maximum, step=1)]
    default = list(value) if isinstance(value, tuple) else value
    node.declare_parameter(parameter.name, default, descriptor, ignore_override=True)


def as_yaml(table: Iterable[Parameter], key: str, node: str, module: str) -> str:
    """Write a table as a commented ROS parameter file with every default, for the nodes that `key` names.

    `module` is the module whose command line prints the file.
    """
    lines = [
        f"# Every parameter of {node} with its default. Live ones can be changed with `ros2 param set`.",
        f"# Written by `python3 -m {module}`; change the table there, not this file.",
        f"{key}:",
        "  ros__parameters:",
    ]
    open_group = ""
    for parameter in table:
        group, _, name = parameter.name.rpartition(".")
        if group and group != open_group:
            lines.append(f"    {group}:")
        open_group = group
        indent = "      " if group else "    "
        notes = [note for note in (parameter.allowed, "read-only" if parameter.read_only else "live") if note]
        lines.append(f"{indent}# {parameter.description} [{'; '.join(notes)}]")
        value = f"{name}: {_yaml(parameter.default)}"
        lines.append(f"{indent}# {value}  (unset: that of the model)" if parameter.from_model else indent + value)
    return "\n".join(lines) + "\n"


def _yaml(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value) if isinstance(value, tuple) else value)
