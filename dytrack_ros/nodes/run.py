"""Runs a node until it finishes or a signal ends it; prints a failed start as one line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from dytrack_ros.utils import one_line, provide_home

# Timeout of an executor without work, so that signals are noticed.
WAIT_S = 0.1
# Ctrl-C, `kill` or a launcher, and a closed terminal.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_is_stopped = False


class RunnableNode(Node):
    """A node for :func:`run`.

    Attributes:
        finished: set by a node that has done its work; the process then ends.
        exit_code: exit code of the process.
    """

    finished = False
    exit_code = 0

    def __init__(self, name: str, **options) -> None:
        # Declared at once, so that LiveParameters can list them: rclpy has no other way to.
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters as rclpy does, but accept integers for doubles and log refused changes.

        rqt_reconfigure, for instance, does not show the answer.
        """
        result = super().set_parameters_atomically([self._as_double(parameter) for parameter in parameter_list])
        if not result.successful:
            names = ", ".join(parameter.name for parameter in parameter_list)
            self.get_logger().warning(f"change of {names} refused: {result.reason}")
        return result

    def _as_double(self, parameter: Parameter) -> Parameter:
        is_integer = parameter.type_ in (Parameter.Type.INTEGER, Parameter.Type.INTEGER_ARRAY)
        if not is_integer or not self.has_parameter(parameter.name):
            return parameter
        wanted = self.describe_parameter(parameter.name).type
        if wanted == Parameter.Type.DOUBLE.value and parameter.type_ == Parameter.Type.INTEGER:
            return Parameter(parameter.name, Parameter.Type.DOUBLE, float(parameter.value))
        if wanted == Parameter.Type.DOUBLE_ARRAY.value and parameter.type_ == Parameter.Type.INTEGER_ARRAY:
            return Parameter(parameter.name, Parameter.Type.DOUBLE_ARRAY, [float(value) for value in parameter.value])
        return parameter

    def close(self) -> None:
        """End what the node has started, such as threads; called before the node is destroyed."""


def run(build: Callable[[], RunnableNode], args: list[str] | None = None) -> int:
    """Build a node and spin it in the main thread; return the exit code of the process.

    SIGINT, SIGTERM and SIGHUP end it with 0 at any time, also while it is built. rclpy's own signal handlers are not
    used because they shut the context down while the worker thread uses it. An error while the node is built is
    printed as one line and gives 1.
    """
    global _is_stopped
    _is_stopped = False
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:  # nohup ignores SIGHUP
            signal.signal(number, _stop_once)
    node = None
    try:
        if home := provide_home():
            print(f"warning: this user has no home folder: {home} is used instead, for logs and cache", file=sys.stderr)
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = build()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not node.finished:
            executor.spin_once(timeout_sec=WAIT_S)
        return node.exit_code
    except KeyboardInterrupt:
        return node.exit_code if node is not None else 0
    except Exception as error:
        if is_stopped():  # native modules that are interrupted while they are imported raise errors of their own
            return 0
        if node is not None:  # an error in a running node is a bug: its traceback is wanted
            raise
        # These two kinds carry a sentence for the user; other kinds need their type's name.
        sentence = str(error) if isinstance(error, (ValueError, FileNotFoundError)) else one_line(error)
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()


def leave(code: int) -> NoReturn:
    """End the process without the interpreter's clean-up, which takes longer than a second once torch is loaded.

    For programs that have shut down everything that must be saved.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _stop_once(number, frame) -> None:
    global _is_stopped
    _is_stopped = True
    # A launched node gets SIGINT from the terminal and from the launcher; the second one must not disturb the shutdown.
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def is_stopped() -> bool:
    """Whether a signal has ended the node that :func:`run` runs."""
    return _is_stopped
