"""The demo's live table: rewritten in place on a terminal, a line a second elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque

from dytrack_ros.nodes.demo.record import FrameRecord

try:
    from rich.live import Live
    from rich.table import Table
except ImportError:  # a ROS distribution without python3-rich still gets the plain lines
    Live = None

_COLUMNS = ("frame", "state", "box x, y, w, h", "score", "exit", "latency", "drops", "IoU")
_PLAIN = "{:>6}  {:<9}  {:<25}  {:>5}  {:>4}  {:>8}  {:>5}  {:>5}"
_ROWS = 14
_PLAIN_PERIOD_S = 1.0


class LiveTable:
    """Shows one row for each frame; use as a context manager."""

    def __init__(self) -> None:
        self._rows: deque[tuple[str, ...]] = deque(maxlen=_ROWS)
        self._live = Live(refresh_per_second=8, transient=False) if Live and sys.stdout.isatty() else None
        self._printed_s = 0.0

    def start(self) -> None:
        if self._live:
            self._live.start()
        else:
            print(_PLAIN.format(*_COLUMNS), flush=True)

    def stop(self) -> None:
        if self._live:
            self._live.stop()

    def show(self, record: FrameRecord) -> None:
        """Add a row for a frame that the tracker has processed."""
        row = _row(record)
        if self._live is None:
            if time.monotonic() - self._printed_s >= _PLAIN_PERIOD_S:
                self._printed_s = time.monotonic()
                print(_PLAIN.format(*row), flush=True)
            return
        self._rows.append(row)
        table = Table(*_COLUMNS)
        for row in self._rows:
            table.add_row(*row)
        self._live.update(table)


def _row(record: FrameRecord) -> tuple[str, ...]:
    box = ", ".join(f"{value:.1f}" for value in record.box) if record.box else "-"
    exit_taken = f"{record.exit_index}/{record.exit_count}" if record.exit_index else "-"
    overlap = "-" if record.iou is None else f"{record.iou:.2f}"
    return (
        str(record.number),
        record.state.name,
        box,
        f"{record.score:.2f}",
        exit_taken,
        f"{record.latency_ms:.1f} ms",
        str(record.frames_dropped),
        overlap,
    )
