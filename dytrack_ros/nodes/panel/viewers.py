"""The pages that are connected, and what is on its way to each."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any

from aiohttp import web

# Pictures on their way to a page that it has not drawn yet: over a slow line fewer come, not older ones.
PICTURES_UNDER_WAY = 2
# A page that is so far behind starts afresh by connecting again.
MAX_WAITING_TEXTS = 1000


class Viewer:
    """One connected page. Everything but the plain attributes belongs to the server's thread.

    Attributes:
        looking: the page is visible.
        width: of its picture in pixels.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.looking = False
        self.width = 0
        self._socket = socket
        self._texts: deque[str] = deque()
        self._picture: bytes | None = None
        self._under_way = 0
        self._news = asyncio.Event()

    @property
    def wants_picture(self) -> bool:
        return self.looking and self._under_way < PICTURES_UNDER_WAY

    def tell(self, text: str) -> None:
        """Send a text as soon as the line allows."""
        self._texts.append(text)
        self._news.set()

    def show(self, picture: bytes) -> None:
        """Send a picture, in place of one that still waits."""
        if self.looking:
            self._picture = picture
            self._news.set()

    def shown(self) -> None:
        """The page has drawn one."""
        self._under_way = max(0, self._under_way - 1)
        self._news.set()

    def look(self, looking: bool, width: int) -> None:
        """The page is visible or not; what was on its way before a pause does not count any more."""
        if looking != self.looking:
            self._under_way, self._picture = 0, None
        self.looking, self.width = looking, width

    async def send(self) -> None:
        """Send what there is, until the connection ends."""
        while not self._socket.closed:
            await self._news.wait()
            self._news.clear()
            if len(self._texts) > MAX_WAITING_TEXTS:
                await self._socket.close(code=1013, message=b"the page does not keep up")
                return
            while self._texts:
                await self._socket.send_str(self._texts.popleft())
            if self._picture is not None and self._under_way < PICTURES_UNDER_WAY:
                picture, self._picture = self._picture, None
                self._under_way += 1
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
        """Somebody looks."""
        return any(viewer.looking for viewer in self._viewers)

    @property
    def wants_picture(self) -> bool:
        """Somebody looks and has drawn what was sent before."""
        return any(viewer.wants_picture for viewer in self._viewers)

    @property
    def width(self) -> int:
        """Of the widest picture that somebody looks at, pixels."""
        return max((viewer.width for viewer in self._viewers if viewer.looking), default=0)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to all pages."""
        text = json.dumps(message, separators=(",", ":"), allow_nan=False)
        self._call(lambda: [viewer.tell(text) for viewer in self._viewers])

    def show(self, picture: bytes) -> None:
        """Send a picture to all that look."""
        self._call(lambda: [viewer.show(picture) for viewer in self._viewers])

    async def close(self, code: int, reason: str) -> None:
        """End all connections."""
        await asyncio.gather(*(viewer.close(code, reason) for viewer in self._viewers), return_exceptions=True)

    def _call(self, function) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)
