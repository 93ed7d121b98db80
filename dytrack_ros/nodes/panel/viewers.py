"""The connected pages and the queue of each."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import web

# Pictures sent that the page has not drawn yet. Over a slow line fewer pictures are sent, not older ones.
MAX_UNDRAWN_PICTURES = 2
# A page whose unsent texts exceed this is disconnected; it connects again and starts with the present state.
MAX_WAITING_BYTES = 1_000_000


class Viewer:
    """One connected page. Its methods belong to the server's thread.

    Attributes:
        looking: the page is visible.
        width: of its picture in pixels.
    """

    def __init__(self, socket: web.WebSocketResponse, abort: Callable[[], None]) -> None:
        """``abort`` ends the connection at once, without sending what waits."""
        self.looking = False
        self.width = 0
        self._socket = socket
        self._abort = abort
        self._texts: deque[str] = deque()
        self._waiting_bytes = 0
        self._picture: bytes | None = None
        self._undrawn = 0
        self._news = asyncio.Event()

    @property
    def wants_picture(self) -> bool:
        return self.looking and self._undrawn < MAX_UNDRAWN_PICTURES

    def tell(self, text: str) -> None:
        """Queue a text; disconnect the page if it reads too slowly."""
        self._waiting_bytes += len(text)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._texts.clear()
            self._abort()
            return
        self._texts.append(text)
        self._news.set()

    def show(self, picture: bytes) -> None:
        """Send a picture, in place of one that still waits."""
        if self.looking:
            self._picture = picture
            self._news.set()

    def shown(self) -> None:
        """Take note that the page has drawn a picture."""
        self._undrawn = max(0, self._undrawn - 1)
        self._news.set()

    def look(self, looking: bool, width: int) -> None:
        """Take note whether the page is visible. After a pause the count of undrawn pictures starts again."""
        if looking != self.looking:
            self._undrawn, self._picture = 0, None
        self.looking, self.width = looking, width

    async def send(self) -> None:
        """Send what is queued, until the connection ends."""
        while not self._socket.closed:
            await self._news.wait()
            self._news.clear()
            while self._texts:
                text = self._texts.popleft()
                await self._socket.send_str(text)
                self._waiting_bytes -= len(text)
            if self._picture is not None and self._undrawn < MAX_UNDRAWN_PICTURES:
                picture, self._picture = self._picture, None
                self._undrawn += 1
                await self._socket.send_bytes(picture)

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, message=reason.encode())


class Viewers:
    """All connected pages. `join` and `leave` belong to the server's thread, the rest may be called from any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._viewers: tuple[Viewer, ...] = ()  # replaced, never changed: other threads read it

    def __len__(self) -> int:
        return len(self._viewers)

    def join(self, viewer: Viewer) -> None:
        self._viewers = (*self._viewers, viewer)

    def leave(self, viewer: Viewer) -> None:
        self._viewers = tuple(other for other in self._viewers if other is not viewer)

    @property
    def looking(self) -> bool:
        """A page is visible."""
        return any(viewer.looking for viewer in self._viewers)

    @property
    def wants_picture(self) -> bool:
        """A page is visible and has drawn what was sent before."""
        return any(viewer.wants_picture for viewer in self._viewers)

    @property
    def width(self) -> int:
        """The greatest width of a visible page's picture, pixels."""
        return max((viewer.width for viewer in self._viewers if viewer.looking), default=0)

    def tell(self, message: dict[str, Any], only: Viewer | None = None) -> None:
        """Send a message to all pages, or to one."""
        text = json.dumps(message, separators=(",", ":"), allow_nan=False)

        def send() -> None:
            for viewer in self._viewers:
                if only in (None, viewer):
                    viewer.tell(text)

        self._call(send)

    def show(self, picture: bytes) -> None:
        """Send a picture to all visible pages."""

        def send() -> None:
            for viewer in self._viewers:
                viewer.show(picture)

        self._call(send)

    async def close(self, code: int, reason: str) -> None:
        """End all connections."""
        await asyncio.gather(*(viewer.close(code, reason) for viewer in self._viewers), return_exceptions=True)

    def _call(self, function: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)
