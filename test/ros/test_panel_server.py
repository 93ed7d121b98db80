"""The web server of the panel, in this process and without a ROS graph."""

import asyncio
import json
import re
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

from dytrack_ros.nodes.faults import PAGE_REFUSED
from dytrack_ros.nodes.panel import server as panel_server
from dytrack_ros.nodes.panel.gate import Gate
from dytrack_ros.nodes.panel.server import MAX_MESSAGE_BYTES, PAGE, PanelServer
from dytrack_ros.nodes.panel.viewers import MAX_WAITING_BYTES

TOKEN = "correct horse battery"
PATIENCE_S = 30


@pytest.fixture
def serve():
    """Start a server; returns it with its `address`, `origin`, received `requests` and reported `faults`."""
    servers = []

    def start(host="127.0.0.1", token=""):
        requests, faults = [], []
        server = PanelServer(
            host,
            0,
            Gate(host, token),
            lambda *received: requests.append(received),
            lambda *fault: faults.append(fault),
            lambda: None,
        )
        servers.append(server)
        origin = f"http://127.0.0.1:{server.port}"
        return SimpleNamespace(server=server, url=f"{origin}/", origin=origin, requests=requests, faults=faults)

    yield start
    for server in servers:
        server.close()


def wait_until(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return result


def fetch(url, method="GET", **options):
    """Status, headers and text of one request."""

    async def talk():
        async with aiohttp.ClientSession() as session, session.request(method, url, **options) as answer:
            return answer.status, answer.headers, await answer.text()

    return asyncio.run(talk())


def post_token(panel, token):
    return fetch(f"{panel.url}session", "POST", json={"token": token}, headers={"Origin": panel.origin})


def handshake(panel, **headers):
    """The status of a WebSocket handshake with these headers; 101 is a connection."""

    async def talk():
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(f"{panel.url}socket/panel", headers=headers):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    return asyncio.run(talk())


def raw(panel, data):
    """A connection on which these bytes have been sent."""
    line = socket.create_connection(("127.0.0.1", panel.server.port), timeout=PATIENCE_S)
    line.sendall(data)
    return line


def raw_page(panel):
    """A page that has connected by WebSocket and reads nothing."""
    request = (
        "GET /socket/panel HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    line = raw(panel, request.encode())
    assert b" 101 " in line.recv(200)
    return line


def is_closed(line):
    try:
        return line.recv(1000) == b""
    except ConnectionResetError:
        return True


# Who is let in


def test_the_page_is_complete_and_loads_nothing_from_elsewhere(serve):
    panel = serve()
    kinds = {".html": "text/html", ".css": "text/css", ".js": "javascript"}
    for name in ("", *(path.name for path in PAGE.iterdir())):
        status, headers, text = fetch(panel.url + name)
        assert status == 200 and kinds[Path(name or "index.html").suffix] in headers["Content-Type"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert not re.search(r"(https?:)?//[a-z]+\.", text.replace("location", "")), f"{name} names another server"
    for missing in ("panel.py", "..%2f..%2fnode.py", "%2e%2e/node.py"):
        assert fetch(panel.url + missing)[0] == 404


def test_pages_of_other_sites_are_refused(serve):
    panel = serve()
    evil = "http://evil.example"
    assert handshake(panel, Origin=panel.origin) == 101
    assert handshake(panel) == 403
    for origin in (evil, "http://127.0.0.1"):
        assert handshake(panel, Origin=origin) == 403
    rebound = {"Host": f"evil.example:{panel.server.port}", "Origin": f"{evil}:{panel.server.port}"}
    assert handshake(panel, **rebound) == 403
    for path in ("", "panel.js", "session/state"):
        assert fetch(panel.url + path, headers={"Origin": evil})[0] == 403
        assert fetch(panel.url + path, headers={"Host": "evil.example"})[0] == 403
        assert fetch(panel.url + path, headers={"Origin": panel.origin})[0] == 200
    assert (
        fetch(panel.url + "session", "POST", json={"token": "x"})[0] == 403
    )  # browsers send an Origin with every POST
    assert fetch(panel.url, "HEAD")[0] == 200  # but none with a HEAD
    assert (PAGE_REFUSED, f"the request comes from a page of '{evil}', not from this panel's") in panel.faults


def test_beyond_this_machine_the_token_is_demanded(serve):
    panel = serve("0.0.0.0")
    token = panel.server.url.partition("#token=")[2]
    assert len(token) >= 20
    cookie_name = f"dytrack_panel_{panel.server.port}"
    assert handshake(panel, Origin=panel.origin) == 401
    assert handshake(panel, Origin=panel.origin, Cookie=f"{cookie_name}={token}") == 401
    assert fetch(panel.url + "session/state")[2] == '{"admitted": false}'

    started_s = time.monotonic()
    status, headers, _ = post_token(panel, "a wrong one")
    assert (status, "Set-Cookie" in headers) == (401, False)
    assert time.monotonic() - started_s >= 0.5

    status, headers, _ = post_token(panel, token)
    cookie = headers["Set-Cookie"]
    assert status == 200
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert token not in cookie
    assert handshake(panel, Origin=panel.origin, Cookie=cookie.split(";")[0]) == 101


def test_a_token_of_the_user_is_not_shown(serve):
    panel = serve("0.0.0.0", TOKEN)
    assert TOKEN not in panel.server.url
    assert post_token(panel, TOKEN)[0] == 200


def test_wrong_tokens_do_not_delay_the_right_one(serve, monkeypatch):
    monkeypatch.setattr(panel_server, "WRONG_TOKEN_S", 20.0)
    panel = serve(token=TOKEN)
    guess = b'{"token": "a wrong one"}'
    head = (
        f"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Length: {len(guess)}\r\n\r\n"
    )
    lines = [raw(panel, head.encode() + guess) for _ in range(20)]
    wait_until(lambda: len(panel.faults) == 20)
    started_s = time.monotonic()
    assert post_token(panel, TOKEN)[0] == 200
    assert time.monotonic() - started_s < 10
    for line in lines:
        line.close()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff{", "application/json"),
        (b"[1]", "application/json"),
        (b"7", "application/json"),
        (b"[" * 4000, "application/json"),
        (b'{"token": "x"}', "application/json; charset=no-such-one"),
        (b"x" * 10_000, "text/plain"),
    ],
)
def test_a_body_that_is_not_a_token_is_a_bad_request(serve, capfd, body, kind):
    panel = serve(token=TOKEN)
    headers = {"Origin": panel.origin, "Content-Type": kind}
    assert fetch(panel.url + "session", "POST", data=body, headers=headers)[0] in (400, 401, 413)
    assert "Traceback" not in capfd.readouterr().err


def test_an_aborted_body_leaves_no_traceback(serve, capfd):
    panel = serve(token=TOKEN)
    head = b"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Length: 100\r\n\r\n{"
    raw(panel, head).close()
    assert post_token(panel, TOKEN)[0] == 200  # it comes later, so the server has seen the end of the other
    assert "Traceback" not in capfd.readouterr().err


def test_what_is_not_http_is_reported_in_one_line(serve, capfd):
    panel = serve()
    for garbage in (b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
        with raw(panel, garbage) as line:
            assert b"400 Bad Request" in line.recv(100)
    assert [kind for kind, sentence in panel.faults if "not an HTTP request" in sentence] == [PAGE_REFUSED] * 2
    assert "Traceback" not in capfd.readouterr().err


# What one page can cost


def test_half_sent_requests_end(serve, monkeypatch):
    monkeypatch.setattr(panel_server, "CONNECTION_S", 0.5)
    panel = serve(token=TOKEN)
    post = b"POST /session HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Length: 100\r\n\r\n{"
    for beginning in (b"", b"GET / HTTP/1.1\r\nHost: ", post):
        with raw(panel, beginning) as line:
            assert is_closed(line)
    page = serve()
    with raw_page(page) as line:  # a WebSocket lasts longer
        time.sleep(1.0)
        assert len(page.server.viewers) == 1
        assert line.fileno() >= 0


def test_the_oldest_of_too_many_connections_ends(serve, monkeypatch):
    monkeypatch.setattr(panel_server, "MAX_CONNECTIONS", 5)
    panel = serve()
    lines = [raw(panel, b"GET / HTTP/1.1\r\n") for _ in range(6)]
    assert is_closed(lines[0])
    assert fetch(panel.url)[0] == 200
    for line in lines:
        line.close()


def test_a_page_that_does_not_read_is_disconnected(serve):
    panel = serve()
    with raw_page(panel):
        viewers = panel.server.viewers
        wait_until(lambda: len(viewers) == 1)
        text = "x" * 100_000
        for _ in range(20 * MAX_WAITING_BYTES // len(text)):  # more than the system's buffers hold, too
            viewers.tell({"text": text})
        wait_until(lambda: len(viewers) == 0)


def test_a_page_too_many_is_told_so(serve, monkeypatch):
    monkeypatch.setattr(panel_server, "MAX_VIEWERS", 1)
    panel = serve()

    async def talk():
        options = {"headers": {"Origin": panel.origin}}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{panel.url}socket/panel", **options),
            session.ws_connect(f"{panel.url}socket/panel", **options) as second,
        ):
            return await second.receive(PATIENCE_S)

    message = asyncio.run(talk())
    assert (message.type, message.data, message.extra) == (
        aiohttp.WSMsgType.CLOSE,
        1013,
        "1 pages are open: close one of them",
    )


def test_an_answer_goes_to_the_page_that_asked(serve):
    panel = serve()

    async def talk():
        options = {"headers": {"Origin": panel.origin}}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{panel.url}socket/panel", **options) as asking,
            session.ws_connect(f"{panel.url}socket/panel", **options) as other,
        ):
            await asking.send_str('{"type":"set","name":"a","value":1}')
            while not panel.requests:
                await asyncio.sleep(0.01)
            ((viewer, request),) = panel.requests
            assert request == {"type": "set", "name": "a", "value": 1}
            panel.server.viewers.tell({"type": "answer"}, viewer)
            panel.server.viewers.tell({"type": "to all"})
            heard = [json.loads((await asking.receive()).data)["type"] for _ in range(2)]
            return heard, json.loads((await other.receive()).data)["type"]

    assert asyncio.run(asyncio.wait_for(talk(), PATIENCE_S)) == (["answer", "to all"], "to all")


def test_bad_messages_are_answered_and_reported(serve):
    panel = serve()
    bad = ("no JSON", "[]", '{"type":"fly"}', b"\x00\x01", '{"type":"set","name":"x"}')

    async def talk():
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{panel.url}socket/panel", headers={"Origin": panel.origin}) as page,
        ):
            for message in bad:
                await (page.send_bytes if isinstance(message, bytes) else page.send_str)(message)
                assert json.loads((await page.receive()).data)["type"] == "error"
            await page.send_str("x" * (MAX_MESSAGE_BYTES + 1))
            while not page.closed:
                await page.receive()
            return page.close_code

    assert asyncio.run(asyncio.wait_for(talk(), PATIENCE_S)) == 1009
    assert len(panel.faults) >= len(bad)
    assert not panel.requests
