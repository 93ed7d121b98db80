"""Runs a node until it has finished or is told to stop, and says in one line what went wrong."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dytrack_ros.one_line import one_line

# How often a waiting executor looks up, so that a signal is noticed while nothing happens in the graph.
WAIT_S = 0.1

_stop_was_asked_for = False


def run(build: Callable[[], Node], args: list[str] | None = None) -> int:
    """Build a node and spin it in this (the main) thread; returns the exit code of the process.

    SIGINT and SIGTERM end it with 0, from its first moment on. rclpy's own signal handlers are not used: they pull the
    context away under the worker thread. A node may have an attribute `finished` that ends it, an `exit_code`, and a
    `close` method. An error while building it is printed as one line and gives 1.
    """
    global _stop_was_asked_for
    _stop_was_asked_for = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_once)
    node = None
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = build()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not getattr(node, "finished", False):
            executor.spin_once(timeout_sec=WAIT_S)
    except KeyboardInterrupt:
        pass
    except Exception as error:
        if is_stopped():  # native modules, interrupted while they are imported, raise errors of their own
            return 0
        if node is not None:  # a running node that fails is a bug: its traceback is wanted
            raise
        # Those two are raised with a sentence for the user; of anything else the type says more than the text.
        sentence = str(error) if isinstance(error, (ValueError, FileNotFoundError)) else one_line(error)
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    finally:
        if hasattr(node, "close"):
            node.close()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return getattr(node, "exit_code", 0)


def leave(code: int) -> NoReturn:
    """End the process at once. For programs that have shut down: taking the interpreter and torch apart in good order
    can take longer than the second in which a node should be gone, and nothing is left to be saved."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _stop_once(number, frame) -> None:
    global _stop_was_asked_for
    _stop_was_asked_for = True
    # A launched node gets SIGINT from both the terminal and the launcher; the second must not disturb the clean end.
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def is_stopped() -> bool:
    """Whether SIGINT or SIGTERM has come to a node that :func:`run` runs."""
    return _stop_was_asked_for
