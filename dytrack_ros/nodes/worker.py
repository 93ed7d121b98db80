"""A thread that works on the newest item of a mailbox."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic

from dytrack_ros.nodes.mailbox import Mailbox, T


class Worker(threading.Thread, Generic[T]):
    """Calls `work` with every item that the mailbox gives, and with None whenever there is none for a while.

    Nothing that `work` raises ends the thread: it goes to `on_error`, until `end` is called.
    """

    IDLE_S = 0.5

    def __init__(
        self,
        name: str,
        mailbox: Mailbox[T],
        work: Callable[[T | None], None],
        on_error: Callable[[Exception], None],
        niceness: int = 0,
    ) -> None:
        """`niceness`, 0 to 19: how far this thread stands back where processors are short."""
        super().__init__(name=name, daemon=True)
        self._mailbox = mailbox
        self._work = work
        self._on_error = on_error
        self._niceness = niceness
        self._ending = threading.Event()

    def run(self) -> None:
        if self._niceness:
            # Linux has a niceness for each thread; added to the process's own, which may be nice already.
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(own + self._niceness, 19))
        while not self._ending.is_set():
            item = self._mailbox.take(self.IDLE_S)
            if self._ending.is_set():
                return
            try:
                self._work(item)
            except Exception as error:
                if not self._ending.is_set():  # otherwise it is the end that has taken something away
                    self._on_error(error)

    def end(self, timeout_s: float) -> None:
        """Finish the item under work and end; does not wait longer than `timeout_s`."""
        self._ending.set()
        self._mailbox.wake()
        self.join(timeout_s)
