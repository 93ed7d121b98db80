"""What all subcommands share: how errors reach the user."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

Main = Callable[[list[str] | None], int]


def command(name: str) -> Callable[[Main], Callable[..., int]]:
    """Decorate ``main(argv)`` of a subcommand: an expected error is printed on one line, and the exit status is 2."""

    def decorate(run: Main) -> Callable[..., int]:
        @functools.wraps(run)
        def main(argv: list[str] | None = None) -> int:
            try:
                return run(argv)
            except (OSError, ValueError, ImportError, RuntimeError) as error:
                print(f"dytrack {name}: {error}", file=sys.stderr)
                return 2

        return main

    return decorate
