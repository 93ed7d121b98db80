"""Calls another node's services without blocking, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from rclpy.timer import Timer

PATIENCE_S = 3.0
LOOK_S = 0.1


@dataclass(eq=False)
class _Call:
    """A call without an answer yet. While `future` is None it has not been sent: its service is not there yet."""

    client: Any
    name: str
    request: Any
    then: Callable[[Any], None]
    otherwise: Callable[[str], None]
    deadline_s: float
    future: Future | None = None


class ServiceCalls:
    """Clients of one node's services, for use in the executor's thread.

    A new client may not have found its server yet: a call then waits until it has.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clients: dict[str, Any] = {}
        self._calls: list[_Call] = []
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._timer: Timer | None = None  # while there are calls

    def prepare(self, service_type: type, name: str) -> Any:
        """Make the client of a service, which then begins to look for its server; returns it."""
        if name not in self._clients:
            self._clients[name] = self._node.create_client(service_type, name)
        return self._clients[name]

    def is_ready(self, service_type: type, name: str) -> bool:
        """Return whether a service has been found."""
        return self.prepare(service_type, name).service_is_ready()

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
        call = _Call(client, name, request, then, otherwise, time.monotonic() + PATIENCE_S)
        self._calls.append(call)
        self._send_if_ready(call)
        if self._timer is None:
            self._timer = self._node.create_timer(LOOK_S, self._look, clock=self._steady)

    def _send_if_ready(self, call: _Call) -> None:
        if call.client.service_is_ready():
            call.future = call.client.call_async(call.request)
            call.future.add_done_callback(lambda future: self._answered(call, future))

    def _answered(self, call: _Call, future: Future) -> None:
        if call in self._calls:
            self._calls.remove(call)
            call.then(future.result())

    def _look(self) -> None:
        """Send what waits for its service, and give up on what has not been answered in time."""
        now_s = time.monotonic()
        for call in list(self._calls):
            if now_s > call.deadline_s:
                self._give_up(call)
            elif call.future is None:
                self._send_if_ready(call)
        if not self._calls:
            self._end_timer()

    def _give_up(self, call: _Call) -> None:
        self._calls.remove(call)
        if call.future is None:
            call.otherwise(f"there is no service {call.name}: does the tracker run?")
        else:
            call.client.remove_pending_request(call.future)
            call.otherwise(f"{call.name} has not answered within {PATIENCE_S:g} s: has the tracker ended?")

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def close(self) -> None:
        """Forget all calls and clients."""
        self._calls.clear()
        self._end_timer()
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()
