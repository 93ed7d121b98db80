"""Calls another node's services without blocking, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.task import Future

PATIENCE_S = 3.0


class _Call(NamedTuple):
    """A call without an answer yet. Without a `future` it has not been sent: its service is not there yet."""

    client: Any
    request: Any
    then: Callable[[Any], None]
    otherwise: Callable[[str], None]
    deadline_s: float
    future: Future | None


class ServiceCalls:
    """Clients of one node's services, for use in the executor's thread.

    A new client may not have found its server yet: a call then waits until it has.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clients: dict[str, Any] = {}
        self._calls: list[_Call] = []

    def prepare(self, service_type: type, name: str) -> Any:
        """Make the client of a service, which then begins to look for its server; returns it."""
        if name not in self._clients:
            self._clients[name] = self._node.create_client(service_type, name)
        return self._clients[name]

    def call(
        self,
        service_type: type,
        name: str,
        request: Any,
        then: Callable[[Any], None],
        otherwise: Callable[[str], None],
    ) -> None:
        """Call a service; ``then`` takes the response, ``otherwise`` a sentence that says why there is no response."""
        client = self.prepare(service_type, name)
        self._send(_Call(client, request, then, otherwise, time.monotonic() + PATIENCE_S, None))

    def _send(self, call: _Call) -> None:
        """Send a call, or keep it where its service is not there yet."""
        if call.client.service_is_ready():
            future = call.client.call_async(call.request)
            call = call._replace(future=future)
            future.add_done_callback(lambda future: self._answered(call, future))
        self._calls.append(call)

    def _answered(self, call: _Call, future: Future) -> None:
        if call in self._calls:
            self._calls.remove(call)
            call.then(future.result())

    def look(self) -> None:
        """Send what waits for its service, and give up on what has not been answered in time."""
        calls, self._calls = self._calls, []
        for call in calls:
            if time.monotonic() < call.deadline_s:
                self._calls.append(call) if call.future else self._send(call)
            elif call.future is None:
                call.otherwise(f"there is no service {call.client.srv_name}: does the tracker run?")
            else:
                call.client.remove_pending_request(call.future)
                call.otherwise(f"{call.client.srv_name} has not answered in {PATIENCE_S:g} s: has the tracker ended?")

    def close(self) -> None:
        """Forget all calls and clients."""
        self._calls.clear()
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()
