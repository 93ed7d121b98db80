"""Clients of dytrack_panel for benchmarks and tests: a WebSocket viewer without a browser, and a page in Chromium."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Viewer:
    """A WebSocket connection to the panel, in its own thread.

    Attributes:
        picture: the last packet of a picture; `picture_count` counts them.
        heard: every other message, oldest first.
        close_code: of the connection, None while it lasts.
    """

    def __init__(self, url: str, width: int = 0, cookies: dict[str, str] | None = None) -> None:
        """``width`` of the page's picture in pixels; 0 does not look."""
        self.picture: bytes = b""
        self.picture_count = 0
        self.heard: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._url, self._width, self._cookies = url, width, cookies
        self._loop = asyncio.new_event_loop()
        self._connected = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._converse(),), daemon=True)
        self._thread.start()
        if not self._connected.wait(30) or self._failure:
            raise ConnectionError(f"no connection to {url}: {self._failure}")

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._socket.close(), self._loop)
            self._thread.join(10)

    def send(self, message: dict[str, Any] | str | bytes) -> None:
        """Send an object as JSON, a text or bytes as they are."""
        if isinstance(message, dict):
            message = json.dumps(message)
        sending = self._socket.send_bytes(message) if isinstance(message, bytes) else self._socket.send_str(message)
        asyncio.run_coroutine_threadsafe(sending, self._loop).result(10)

    def look(self, width: int) -> None:
        """Look at a picture of this many pixels' width; 0: look away."""
        self.send({"type": "look", "looking": width > 0, "width": width})

    def last(self, kind: str, **fields: Any) -> dict[str, Any] | None:
        """The last message of a type, with these fields."""
        wanted = fields | {"type": kind}
        fits = (message for message in reversed(self.heard) if all(message.get(k) == v for k, v in wanted.items()))
        return next(fits, None)

    async def _converse(self) -> None:
        try:
            async with aiohttp.ClientSession(
                cookies=self._cookies, cookie_jar=aiohttp.CookieJar(unsafe=True)
            ) as session:
                options = {"origin": self._url.rstrip("/"), "max_msg_size": 0}
                async with session.ws_connect(f"{self._url}socket/panel", **options) as self._socket:
                    if self._width:
                        await self._socket.send_json({"type": "look", "looking": True, "width": self._width})
                    self._connected.set()
                    async for message in self._socket:
                        await self._take(message)
                    self.close_code = self._socket.close_code
        except Exception as error:
            self._failure = error
        finally:
            self._connected.set()

    async def _take(self, message: aiohttp.WSMessage) -> None:
        if message.type == aiohttp.WSMsgType.BINARY:
            self.picture = message.data
            self.picture_count += 1
            await self._socket.send_str('{"type":"shown"}')
        else:
            self.heard.append(json.loads(message.data))


def find_chromium() -> str:
    """Return the path of the system's Chromium; empty without one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


@contextmanager
def browser() -> Iterator:
    """Run a headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if not path:
        raise SystemExit("there is no Chromium: apt install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def browser_page(url: str, viewport: dict[str, int]) -> Iterator:
    """Open one page in a headless Chromium."""
    with browser() as chromium:
        page = chromium.new_page(viewport=viewport)
        page.goto(url)
        yield page


def drag_box(page, box: tuple[float, float, float, float]) -> str:
    """Drag a box (x, y, w, h in pixels of the full image) with the mouse; returns the image's stamp at the start."""
    area = page.evaluate(
        """() => { const canvas = document.getElementById("picture"), area = canvas.getBoundingClientRect();
                   return [area.left, area.top, area.width, area.height,
                            ...canvas.dataset.size.split(" ").map(Number)]; }"""
    )
    left, top, width, height, columns, rows = area
    x, y, w, h = box
    page.mouse.move(left + x / columns * width, top + y / rows * height)
    page.mouse.down()
    stamp = page.evaluate("document.getElementById('picture').dataset.stamp")
    for share in (0.4, 1.0):
        page.mouse.move(left + (x + share * w) / columns * width, top + (y + share * h) / rows * height)
    page.mouse.up()
    return stamp
