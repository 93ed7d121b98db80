"""The tracker's parameters on the page: read, changed, kept up to date, and converted to and from JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters

from dytrack_ros.nodes.panel.service_calls import ServiceCalls

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


SERVICES = {
    ListParameters: "list_parameters",
    DescribeParameters: "describe_parameters",
    GetParameters: "get_parameters",
    SetParameters: "set_parameters",
}


class TrackerParameters:
    """Asks the tracker for its parameters and tells pages of them.

    Messages: `parameters` (all of them, as forms), `values` (some that have changed), `answer` (what became of a
    change; `ok` and why not).
    """

    def __init__(self, tracker: str, calls: ServiceCalls, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tracker = tracker
        self._calls = calls
        self._tell = tell
        self._forms: dict[str, dict[str, Any]] = {}

    @property
    def are_known(self) -> bool:
        return bool(self._forms)

    @property
    def can_be_read(self) -> bool:
        return self._calls.is_ready(ListParameters, self._service(ListParameters))

    def _service(self, service_type: type) -> str:
        return f"{self._tracker}/{SERVICES[service_type]}"

    def prepare(self) -> None:
        """The tracker has just come: let the clients find its services."""
        for service_type in SERVICES:
            self._calls.prepare(service_type, self._service(service_type))

    def forget(self) -> None:
        """The tracker is gone."""
        self._forms = {}
        self.show()

    def show(self) -> None:
        """Tell all of them, to a page that has just come."""
        self._tell({"type": "parameters", "parameters": list(self._forms.values())})

    def load(self) -> None:
        """Ask for all of them."""
        request = ListParameters.Request()
        self._call(ListParameters, request, lambda response: self._describe(response.result.names))

    def _describe(self, names: list[str]) -> None:
        request = DescribeParameters.Request(names=names)
        self._call(DescribeParameters, request, lambda found: self._get(found.descriptors))

    def _get(self, descriptors: list) -> None:
        request = GetParameters.Request(names=[descriptor.name for descriptor in descriptors])
        self._call(GetParameters, request, lambda found: self._keep(descriptors, found.values))

    def _keep(self, descriptors: list, values: list) -> None:
        # A name that has vanished between two of the calls makes the later ones shorter: the next load mends it.
        if len(descriptors) == len(values):
            pairs = zip(descriptors, values, strict=True)
            self._forms = {descriptor.name: form(descriptor, value) for descriptor, value in pairs}
            self.show()

    def _call(
        self,
        service_type: type,
        request: Any,
        then: Callable[[Any], None],
        otherwise: Callable[[str], None] = lambda reason: (
            None
        ),  # nothing is known then, and it is asked again in a second
    ) -> None:
        self._calls.call(service_type, self._service(service_type), request, then, otherwise)

    def changed(self, event: ParameterEvent) -> None:
        """Take what `/parameter_events` says of any node."""
        if event.node != self._tracker:
            return
        if event.new_parameters or event.deleted_parameters:
            self.load()
        values = {p.name: plain(p.value) for p in event.changed_parameters if p.name in self._forms}
        for name, value in values.items():
            self._forms[name]["value"] = value
        if values:
            self._tell({"type": "values", "values": values})

    def set(self, name: str, value: bool | int | float | str) -> None:
        """Change one, and tell what became of it."""

        def answer(ok: bool, text: str) -> None:
            known = self._forms.get(name, {}).get("value")
            self._tell({"type": "answer", "to": "set", "name": name, "ok": ok, "text": text, "value": known})

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
