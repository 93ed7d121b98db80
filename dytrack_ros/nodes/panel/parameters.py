"""The tracker's parameters on the page: read, changed, kept up to date, and converted to and from JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter as RosParameter
from rclpy.parameter import parameter_value_to_python

from dytrack_ros.nodes.panel.service_calls import ServiceCalls
from dytrack_ros.nodes.panel.viewers import Viewer

KINDS = {
    ParameterType.PARAMETER_BOOL: "bool",
    ParameterType.PARAMETER_INTEGER: "integer",
    ParameterType.PARAMETER_DOUBLE: "double",
    ParameterType.PARAMETER_STRING: "string",
}
KIND_NAMES = {"bool": "true or false", "integer": "an integer", "double": "a number", "string": "a text"}
# A parameter has an effect only while each of the named ones has one of these values.
ACTS_WHEN: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "exit.tau_1": (("exit.policy", ("thresholds",)),),
    "exit.tau_2": (("exit.policy", ("thresholds",)),),
    "exit.fixed": (("exit.policy", ("fixed",)),),
    "budget.rate_hz": (("budget.mode", ("rate",)),),
    "budget.milliseconds": (("budget.mode", ("milliseconds",)),),
    "budget.headroom": (("budget.mode", ("camera",)),),
    "budget.keep_period": (("budget.mode", ("camera",)),),
}
_INTEGERS = range(-(2**63), 2**63)


def form(descriptor: ParameterDescriptor, value: ParameterValue) -> dict[str, Any]:
    """Return what a page needs to show a parameter: `kind` is one of KINDS, or `other` if the page cannot change it."""
    made: dict[str, Any] = {
        "name": descriptor.name,
        "kind": KINDS.get(value.type, "other"),
        "value": plain(value),
        "description": descriptor.description,
        "read_only": descriptor.read_only,
        "choices": [],
        "acts_when": [{"name": other, "values": list(values)} for other, values in ACTS_WHEN.get(descriptor.name, ())],
    }
    # This package separates choices by bars there; other nodes may write sentences.
    if " | " in descriptor.additional_constraints:
        made["choices"] = descriptor.additional_constraints.split(" | ")
    for limits in (*descriptor.floating_point_range[:1], *descriptor.integer_range[:1]):
        made |= {"from": plain_number(limits.from_value), "to": plain_number(limits.to_value)}
    return made


def plain(value: ParameterValue) -> bool | int | float | str | None:
    """Return a value for JSON; lists become text."""
    held = parameter_value_to_python(value)
    if isinstance(held, float):
        return plain_number(held)
    return held if held is None or isinstance(held, (bool, int, str)) else str(list(held))


def plain_number(value: float) -> float | str:
    """Return the number, infinity as text: JSON has no infinity."""
    return value if math.isfinite(value) else str(value)


def parameter_message(name: str, kind: str, value: bool | int | float | str) -> Parameter:
    """Return the message that sets a parameter of this kind.

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
    if kind not in types:
        raise ValueError(f"{name} can only be set when the tracker starts")
    if not fits[kind]:
        raise ValueError(f"{name} must be {KIND_NAMES[kind]}, not {str(value)[:40]!r}")
    exact = float(value) if kind == "double" else value
    return RosParameter(name, RosParameter.Type(types[kind]), exact).to_parameter_msg()


SERVICES = {
    ListParameters: "list_parameters",
    DescribeParameters: "describe_parameters",
    GetParameters: "get_parameters",
    SetParameters: "set_parameters",
}


class TrackerParameters:
    """Reads and sets the tracker's parameters for the pages.

    Messages: `parameters` (all of them, as forms), `values` (those that have changed), `answer` (to the page that asked
    for a change: `ok`, or why not).
    """

    def __init__(self, tracker: str, calls: ServiceCalls, tell: Callable[..., None]) -> None:
        self._tracker = tracker
        self._calls = calls
        self._tell = tell
        self._forms: dict[str, dict[str, Any]] = {}

    @property
    def are_known(self) -> bool:
        """The tracker has answered with its parameters."""
        return bool(self._forms)

    @property
    def can_be_read(self) -> bool:
        """The tracker's parameter services have been found."""
        return bool(self._calls.prepare(ListParameters, self._service(ListParameters)).service_is_ready())

    def _service(self, service_type: type) -> str:
        return f"{self._tracker}/{SERVICES[service_type]}"

    def prepare(self) -> None:
        """Make the clients of a tracker that has just appeared."""
        for service_type in SERVICES:
            self._calls.prepare(service_type, self._service(service_type))

    def forget(self) -> None:
        """Forget all of them: the tracker has gone."""
        self._forms = {}
        self.show()

    def show(self) -> None:
        """Send all of them to the pages."""
        self._tell({"type": "parameters", "parameters": list(self._forms.values())})

    def load(self) -> None:
        """Ask the tracker for all of them."""
        request = ListParameters.Request()
        self._call(ListParameters, request, lambda response: self._describe(response.result.names))

    def _describe(self, names: list[str]) -> None:
        request = DescribeParameters.Request(names=names)
        self._call(DescribeParameters, request, lambda found: self._get(found.descriptors))

    def _get(self, descriptors: list) -> None:
        request = GetParameters.Request(names=[descriptor.name for descriptor in descriptors])
        self._call(GetParameters, request, lambda found: self._keep(descriptors, found.values))

    def _keep(self, descriptors: list, values: list) -> None:
        # If a parameter was undeclared between two calls, the lists differ in length: the next load is complete.
        if len(descriptors) == len(values):
            pairs = zip(descriptors, values, strict=True)
            self._forms = {descriptor.name: form(descriptor, value) for descriptor, value in pairs}
            self.show()

    def _call(
        self,
        service_type: type,
        request: Any,
        then: Callable[[Any], None],
        otherwise: Callable[[str], None] = lambda reason: None,  # the node asks again in a second
    ) -> None:
        self._calls.call(service_type, self._service(service_type), request, then, otherwise)

    def changed(self, event: ParameterEvent) -> None:
        """Take a message of `/parameter_events`, which may be about any node."""
        if event.node != self._tracker:
            return
        if event.new_parameters or event.deleted_parameters:
            self.load()
        values = {p.name: plain(p.value) for p in event.changed_parameters if p.name in self._forms}
        for name, value in values.items():
            self._forms[name]["value"] = value
        if values:
            self._tell({"type": "values", "values": values})

    def set(self, name: str, value: bool | int | float | str, viewer: Viewer) -> None:
        """Set one and tell the page that asked for it whether it was accepted."""

        def answer(ok: bool, text: str) -> None:
            known = self._forms.get(name, {}).get("value")
            told = {"type": "answer", "to": "set", "name": name, "ok": ok, "text": text, "value": known}
            self._tell(told, viewer)

        if name not in self._forms:
            answer(False, f"the tracker has no parameter {name[:100]!r}")
            return
        try:
            message = parameter_message(name, self._forms[name]["kind"], value)
        except ValueError as error:
            answer(False, str(error))
            return

        def then(response: SetParameters.Response) -> None:
            (result,) = response.results
            if result.successful and name in self._forms:  # the tracker may have gone meanwhile
                self._forms[name]["value"] = plain(message.value)
            answer(result.successful, result.reason)

        request = SetParameters.Request(parameters=[message])
        self._call(SetParameters, request, then, lambda reason: answer(False, reason))
