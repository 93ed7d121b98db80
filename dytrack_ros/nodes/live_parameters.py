"""A table of parameters, declared on a node and kept up to date while it runs."""

from __future__ import annotations

from collections.abc import Callable

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from dytrack_ros.nodes.parameters import Parameter, Value, complaint

# YAML reads the bare word as a boolean, and so do `ros2 param set` and `-p`: where it is a choice, both will do.
_YAML_FALSE = "off"


class LiveParameters:
    """The values in force, by name: `parameters["exit.tau_1"]`.

    A change is checked as a whole and refused with the allowed range, or taken over in one piece before `on_change`
    is called. That happens in the executor thread; whoever works in another one picks the values up between frames.

    Raises:
        ValueError: a value given at start (command line, parameter file) is refused.
    """

    def __init__(self, node: Node, table: tuple[Parameter, ...]) -> None:
        self._table = table
        self._by_name = {parameter.name: parameter for parameter in table}
        self._on_change: Callable[[], None] = lambda: None
        self._values = {parameter.name: _declare(node, parameter) for parameter in table}
        if reason := complaint(table, self._values):
            raise ValueError(reason)
        # The older of rclpy's two hooks (there is a post-set one since Iron): it exists in every distribution.
        node.add_on_set_parameters_callback(self._set)

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every accepted change."""
        self._on_change = callback

    def _set(self, changed) -> SetParametersResult:
        values = self._values | {
            new.name: _value(self._by_name[new.name], new.value) for new in changed if new.name in self._by_name
        }
        if reason := complaint(self._table, values):
            return SetParametersResult(successful=False, reason=reason)
        self._values = values
        self._on_change()
        return SetParametersResult(successful=True)


def _declare(node: Node, parameter: Parameter) -> Value:
    descriptor = ParameterDescriptor(
        description=parameter.description,
        read_only=parameter.read_only,
        additional_constraints=" | ".join(parameter.choices),
        dynamic_typing=_YAML_FALSE in parameter.choices,
    )
    if isinstance(parameter.default, float):
        # A step of 0 lets rqt_reconfigure's slider run smoothly; any other step refuses the values between two steps.
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=parameter.minimum, to_value=parameter.maximum, step=0.0)
        ]
    elif parameter.minimum is not None:
        descriptor.integer_range = [IntegerRange(from_value=parameter.minimum, to_value=parameter.maximum, step=1)]
    default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    return _value(parameter, node.declare_parameter(parameter.name, default, descriptor).value)


def _value(parameter: Parameter, value) -> Value:
    """A parameter's value as the table has it: rclpy hands lists over as array.array."""
    if value is False and _YAML_FALSE in parameter.choices:
        return _YAML_FALSE
    return value if isinstance(value, (bool, int, float, str)) else tuple(value or ())
