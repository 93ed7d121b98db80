"""Calls of another node's services that never block and never wait for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.task import Future

PATIENCE_S = 3.0


class ServiceCalls:
    """Clients of one node's services. Everything happens in the executor's thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clients: dict[str, Any] = {}
        self._pending: dict[Future, tuple[float, str, Callable[[str], None]]] = {}

    def prepare(self, service_type: type, name: str) -> Any:
        """Make the client of a service, which then has time to find its server; returns it."""
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
        """Call a service; ``then`` takes the response, ``otherwise`` a sentence that says why there is none."""
        client = self.prepare(service_type, name)
        if not client.service_is_ready():
            otherwise(f"there is no service {name}: does the tracker run?")
            return
        future = client.call_async(request)
        self._pending[future] = time.monotonic() + PATIENCE_S, name, otherwise

        def done(future: Future) -> None:
            if self._pending.pop(future, None) is not None:
                then(future.result())

        future.add_done_callback(done)

    def expire(self) -> None:
        """Give up on what has not been answered in time; to be called now and then."""
        for future, (deadline_s, name, otherwise) in list(self._pending.items()):
            if time.monotonic() > deadline_s:
                del self._pending[future]
                self._clients[name].remove_pending_request(future)
                otherwise(f"{name} has not answered within {PATIENCE_S:g} s: has the tracker ended?")

    def close(self) -> None:
        """Forget all calls and clients."""
        self._pending.clear()
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()
