"""The web server of the panel, in a thread of its own. Knows nothing of ROS."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable
from importlib import resources

from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from dytrack_ros.nodes.faults import BAD_PAGE_MESSAGE, PAGE_REFUSED
from dytrack_ros.nodes.panel.gate import Gate
from dytrack_ros.nodes.panel.protocol import BadRequest, Look, Request, Shown, parse
from dytrack_ros.nodes.panel.viewers import Viewer, Viewers
from dytrack_ros.utils import one_line

PAGE_FILES = {
    "index.html": "text/html",
    "panel.css": "text/css",
    "panel.js": "text/javascript",
    "picture.js": "text/javascript",
    "pointing.js": "text/javascript",
    "controls.js": "text/javascript",
    "charts.js": "text/javascript",
}
# A page's messages are short.
MAX_MESSAGE_BYTES = 4096
MAX_VIEWERS = 16
# A page that is gone without a word is noticed after this.
HEARTBEAT_S = 10.0
# After a wrong token the next one is looked at only then: guessing is slow.
GUESS_PERIOD_S = 0.5
SHUTDOWN_S = 1.5
_START_PATIENCE_S = 10.0

HEADERS = {
    # Nothing from elsewhere, and nobody shows this page in a frame of his.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PanelServer:
    """Serves the page and its WebSocket.

    Attributes:
        viewers: the pages that are connected.
        port: the one in use.

    Raises:
        ValueError: it cannot listen on this host and port.
    """

    def __init__(
        self,
        host: str,
        port: int,
        gate: Gate,
        receive: Callable[[Request], None],
        report: Callable[[str, str], None],
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            receive: takes every valid request that is not about pictures; called in the server's thread, as the others.
            report: takes the kind of a fault and a sentence about it.
            changed: called when a page has come, gone, or begun or ceased to look.
        """
        self._gate = gate
        self._receive = receive
        self._report = report
        self._changed = changed
        self._files = {name: _page_file(name) for name in PAGE_FILES}
        self._loop = asyncio.new_event_loop()
        self.viewers = Viewers(self._loop)
        self._thread = threading.Thread(target=self._run, name="panel server", daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._start(host, port), self._loop)
        try:
            self.port = started.result(_START_PATIENCE_S)
        except OSError as error:
            self.close()
            raise ValueError(
                f"cannot listen on {host}, port {port}: {error.strerror or error}; set the parameters host and port"
            ) from error
        self._host = host

    @property
    def url(self) -> str:
        """Where the page is, with the token where one is asked for."""
        everywhere = self._host in ("0.0.0.0", "::")
        name = socket.gethostname() if everywhere else f"[{self._host}]" if ":" in self._host else self._host
        # Behind #, a browser keeps it to itself: it is in no request line, log or Referer.
        return f"http://{name}:{self.port}/" + (f"#token={self._gate.token}" if self._gate.token else "")

    def close(self) -> None:
        """End all connections, and the thread."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop)
            self._thread.join(SHUTDOWN_S)

    # ---- the server's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _start(self, host: str, port: int) -> int:
        self._guessing = asyncio.Lock()
        application = web.Application(middlewares=[self._check], client_max_size=MAX_MESSAGE_BYTES)
        application.router.add_get("/", self._serve_file)
        application.router.add_get("/{name}", self._serve_file)
        application.router.add_get("/session/state", self._tell_session)
        application.router.add_post("/session", self._open_session)
        application.router.add_get("/socket/panel", self._serve_socket)
        self._runner = web.AppRunner(application, access_log=None, logger=self._http_log())
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        port = self._runner.addresses[0][1]
        self._cookie_name = f"dytrack_panel_{port}"  # cookies know no ports, and a host may have several panels
        return port

    def _http_log(self) -> logging.Logger:
        """Where aiohttp says what went wrong: what is not HTTP (https:// on this port, for instance) is one line."""

        def is_ours(record: logging.LogRecord) -> bool:
            error = record.exc_info[1] if record.exc_info else None
            if not isinstance(error, HttpProcessingError):
                return True
            self._report(PAGE_REFUSED, f"what came is no HTTP request: {one_line(error)[:200]}")
            return False

        log = logging.Logger("dytrack_panel.http")
        log.addFilter(is_ours)
        return log

    async def _end(self) -> None:
        await self.viewers.close(1001, "the panel ends")
        await self._runner.cleanup()
        self._loop.stop()

    @web.middleware
    async def _check(self, request: web.Request, handler) -> web.StreamResponse:
        is_handshake = request.path == "/socket/panel"
        reason = self._gate.refusal(
            request.headers.get("Host"), request.headers.get("Origin"), is_handshake or request.method != "GET"
        )
        if reason:
            self._report(PAGE_REFUSED, reason)
            return web.Response(status=403, text=reason + "\n", headers=HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _serve_file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in self._files:
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=PAGE_FILES[name], charset="utf-8")

    def _is_admitted(self, request: web.Request) -> bool:
        return self._gate.accepts_cookie(request.cookies.get(self._cookie_name))

    async def _tell_session(self, request: web.Request) -> web.Response:
        """Whether this page may connect: the reason for which a handshake fails is kept from scripts."""
        return web.json_response({"admitted": self._is_admitted(request)})

    async def _open_session(self, request: web.Request) -> web.Response:
        """Takes the token and gives a cookie for it, which no script can read and no other site's page can send."""
        try:
            token = (await request.json()).get("token")
        except (ValueError, AttributeError):
            raise web.HTTPBadRequest(text='send {"token": "..."}\n') from None
        async with self._guessing:
            admitted = self._gate.accepts_token(token)
            if not admitted:
                self._report(PAGE_REFUSED, f"a wrong token from {request.remote}")
                await asyncio.sleep(GUESS_PERIOD_S)
        if not admitted:
            return web.json_response({"admitted": False}, status=401)
        response = web.json_response({"admitted": True})
        response.set_cookie(self._cookie_name, self._gate.cookie, httponly=True, samesite="Strict", path="/")
        return response

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        if not self._is_admitted(request):
            return web.Response(status=401, text="show the token first: POST it to /session\n")
        if len(self.viewers) >= MAX_VIEWERS:
            return web.Response(status=503, text=f"{MAX_VIEWERS} pages are open, more are not served\n")
        page = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S, compress=False)
        await page.prepare(request)
        viewer = Viewer(page)
        self.viewers.join(viewer)
        self._changed()
        sending = asyncio.ensure_future(viewer.send())
        try:
            async for message in page:
                self._take(viewer, message)
        finally:
            self.viewers.leave(viewer)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            self._changed()
        return page

    def _take(self, viewer: Viewer, message) -> None:
        try:
            if message.type == WSMsgType.ERROR:
                raise BadRequest(one_line(message.data))
            if message.type != WSMsgType.TEXT:
                raise BadRequest(f"a message must be a text, not {message.type.name.lower()}")
            request = parse(message.data)
        except BadRequest as error:
            self._report(BAD_PAGE_MESSAGE, str(error))
            viewer.tell(json.dumps({"type": "error", "text": str(error)}))
            return
        if isinstance(request, Shown):
            viewer.shown()
        elif isinstance(request, Look):
            viewer.look(request.looking, request.width)
            self._changed()
        else:
            self._receive(request)


def _page_file(name: str) -> bytes:
    return resources.files("dytrack_ros.nodes.panel").joinpath("page", name).read_bytes()
