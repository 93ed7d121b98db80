"""The web server of the panel, in a thread of its own. It knows nothing of ROS."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from dytrack_ros.nodes.faults import BAD_PAGE_MESSAGE, PAGE_REFUSED
from dytrack_ros.nodes.panel.gate import Gate
from dytrack_ros.nodes.panel.protocol import Request, RequestError, parse
from dytrack_ros.nodes.panel.viewers import Viewer, Viewers
from dytrack_ros.utils import one_line

PAGE = Path(__file__).parent / "page"
# A page's messages are short.
MAX_MESSAGE_BYTES = 4096
MAX_VIEWERS = 16
# A WebSocket whose page does not answer for this long is closed.
HEARTBEAT_S = 10.0
# A connection that has not become a WebSocket by then is closed: a request must arrive within this time.
CONNECTION_S = 15.0
# Connections that are not WebSockets; the oldest makes room for a new one.
MAX_CONNECTIONS = 64
# A wrong token is answered after this time. The right one never waits for wrong ones.
WRONG_TOKEN_S = 0.5
SHUTDOWN_S = 1.5
_START_PATIENCE_S = 10.0
_TRY_AGAIN_LATER = 1013  # close code of a WebSocket

HEADERS = {
    # The page loads nothing from elsewhere, and no other page may frame it.
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
        viewers: the connected pages.
        port: the one in use.

    Raises:
        ValueError: it cannot listen on this host and port.
    """

    def __init__(
        self,
        host: str,
        port: int,
        gate: Gate,
        receive: Callable[[Viewer, Request], None],
        report: Callable[[str, str], None],
        changed: Callable[[], None],
    ) -> None:
        """The callbacks are called in the server's thread.

        Args:
            receive: takes a page and its valid request, unless the request is about pictures.
            report: takes the kind of a fault and a sentence about it.
            changed: called when a page connects, disconnects, becomes visible or hidden.
        """
        self._gate = gate
        self._receive = receive
        self._report = report
        self._changed = changed
        self._loop = asyncio.new_event_loop()
        self._connections: dict[RequestHandler, asyncio.TimerHandle] = {}  # not WebSockets; oldest first
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
        """Where the page is, with the token if it was generated. A token that the user set is not shown."""
        everywhere = self._host in ("0.0.0.0", "::")
        name = socket.gethostname() if everywhere else f"[{self._host}]" if ":" in self._host else self._host
        # Browsers send nothing that follows #: the token appears in no request line, log or Referer.
        return f"http://{name}:{self.port}/" + (f"#token={self._gate.token}" if self._gate.is_generated else "")

    def close(self) -> None:
        """End all connections and the thread."""
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
        application = web.Application(middlewares=[self._check], client_max_size=MAX_MESSAGE_BYTES)
        application.router.add_get("/", self._serve_page)
        application.router.add_get("/session/state", self._tell_session)
        application.router.add_post("/session", self._open_session)
        application.router.add_get("/socket/panel", self._serve_socket)
        application.router.add_static("/", PAGE, follow_symlinks=True)  # as colcon --symlink-install makes
        self._runner = web.AppRunner(application, access_log=None, logger=self._http_log())
        await self._runner.setup()
        self._listener: asyncio.Server | None = None
        make_handler = self._runner.server
        assert make_handler is not None  # it exists after setup()
        self._listener = await self._loop.create_server(lambda: self._accept(make_handler()), host, port)
        port = self._listener.sockets[0].getsockname()[1]
        # Cookies do not distinguish ports, and a host may have several panels.
        self._cookie_name = f"dytrack_panel_{port}"
        return port

    def _accept(self, handler: RequestHandler) -> RequestHandler:
        """Take the handler of a new connection; limit how long it lasts and how many there are."""
        self._connections[handler] = self._loop.call_later(CONNECTION_S, self._abort, handler)
        if len(self._connections) > MAX_CONNECTIONS:
            self._abort(next(iter(self._connections)))
        return handler

    def _abort(self, handler: RequestHandler) -> None:
        self._connections.pop(handler).cancel()
        if handler.transport is None:  # it has ended, or it is so new that its transport is not known yet
            self._loop.call_later(1.0, _abort_transport, handler)
        else:
            _abort_transport(handler)

    def _http_log(self) -> logging.Logger:
        """Return the logger of aiohttp, which logs input that is not HTTP (such as https:// here) as one line."""

        def is_ours(record: logging.LogRecord) -> bool:
            error = record.exc_info[1] if record.exc_info else None
            if not isinstance(error, HttpProcessingError):
                return True
            self._report(PAGE_REFUSED, f"not an HTTP request: {one_line(error)[:200]}")
            return False

        log = logging.Logger("dytrack_panel.http")
        log.addFilter(is_ours)
        return log

    async def _end(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self.viewers.close(1001, "the panel's node has ended")
        await self._runner.cleanup()
        self._loop.stop()

    @web.middleware
    async def _check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        needs_origin = request.path == "/socket/panel" or request.method not in ("GET", "HEAD")
        reason = self._gate.refusal(request.headers.get("Host"), request.headers.get("Origin"), needs_origin)
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

    async def _serve_page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html")

    def _is_admitted(self, request: web.Request) -> bool:
        return self._gate.accepts_cookie(request.cookies.get(self._cookie_name))

    async def _tell_session(self, request: web.Request) -> web.Response:
        """Answer whether this page may connect: browsers hide from scripts why a WebSocket is refused."""
        return web.json_response({"admitted": self._is_admitted(request)})

    async def _open_session(self, request: web.Request) -> web.Response:
        """Answer the right token with a cookie that scripts cannot read and pages of other sites cannot send."""
        try:
            token = json.loads(await request.read())["token"]
        except (
            ValueError,
            LookupError,
            TypeError,
            RecursionError,
            OSError,
            HttpProcessingError,
            web.RequestPayloadError,
        ):
            raise web.HTTPBadRequest(text='send {"token": "..."}\n') from None
        if not self._gate.accepts_token(token):
            self._report(PAGE_REFUSED, f"a wrong token from {request.remote}")
            await asyncio.sleep(WRONG_TOKEN_S)
            return web.json_response({"admitted": False}, status=401)
        response = web.json_response({"admitted": True})
        response.set_cookie(self._cookie_name, self._gate.cookie, httponly=True, samesite="Strict", path="/")
        return response

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        if not self._is_admitted(request):
            return web.Response(status=401, text="send the token first: POST it to /session\n")
        page = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S, compress=False)
        await page.prepare(request)
        if len(self.viewers) >= MAX_VIEWERS:
            await page.close(code=_TRY_AGAIN_LATER, message=f"{MAX_VIEWERS} pages are open: close one of them".encode())
            return page
        if handle := self._connections.pop(request.protocol, None):
            handle.cancel()
        transport = request.transport
        if transport is None:  # the page has gone meanwhile
            return page
        viewer = Viewer(page, transport.abort)
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

    def _take(self, viewer: Viewer, message: WSMessage) -> None:
        try:
            if message.type == WSMsgType.ERROR:
                raise RequestError(one_line(message.data))
            if message.type != WSMsgType.TEXT:
                raise RequestError(f"a message must be a text, not {message.type.name.lower()}")
            request = parse(message.data)
        except RequestError as error:
            self._report(BAD_PAGE_MESSAGE, str(error))
            viewer.tell(json.dumps({"type": "error", "text": str(error)}))
            return
        if request["type"] == "shown":
            viewer.shown()
        elif request["type"] == "look":
            viewer.look(request["looking"], request["width"])
            self._changed()
        else:
            self._receive(viewer, request)


def _abort_transport(handler: RequestHandler) -> None:
    if handler.transport is not None:
        handler.transport.abort()
