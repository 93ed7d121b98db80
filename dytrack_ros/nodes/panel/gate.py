"""Who may talk to the panel: host names, origins, and the access token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

MIN_TOKEN_LENGTH = 12


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine's own users can reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


class Gate:
    """Decides on every request.

    A page of another site can send requests here from the operator's browser. It cannot forge `Origin`, and under a name
    of its own that it lets point here (DNS rebinding) it cannot forge `Host` either: so both are checked. An address in
    `Host` cannot be rebound; of names, only `localhost`, this machine's own and ``names`` are known.

    Attributes:
        token: what a page must show, "" where anybody may connect.

    Raises:
        ValueError: the token is too short.
    """

    def __init__(self, host: str, token: str = "", names: Iterable[str] = ()) -> None:
        if token and (len(token) < MIN_TOKEN_LENGTH or not token.isascii()):
            raise ValueError(
                f"token must have at least {MIN_TOKEN_LENGTH} ASCII characters, not {len(token)}; "
                "left empty, one is made where host is not this machine alone"
            )
        self.token = token or ("" if is_loopback(host) else secrets.token_urlsafe(16))
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", host.lower(), *(name.lower() for name in names)}

    def refusal(self, host: str | None, origin: str | None, needs_origin: bool = False) -> str:
        """Why a request with these headers is refused; empty if it is not.

        ``needs_origin``: for what a browser never sends without one, so that only programs lack it.
        """
        name = _host_name(host or "")
        if not name:
            return "the request has no usable Host header"
        if name not in self._names and _address(name) is None:
            return (
                f"the host name {name[:100]!r} is unknown here; open the page by the machine's address, "
                "or add the name to the panel's parameter names"
            )
        if origin is None:
            return "the request has no Origin header" if needs_origin else ""
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or _bare(parts.netloc, parts.scheme) != _bare(host, parts.scheme):
            return f"the request comes from a page of {origin[:100]!r}, not from this panel's"
        return ""

    def accepts_token(self, token: object) -> bool:
        """Whether this is the token (in constant time)."""
        return isinstance(token, str) and _equal(token, self.token)

    @property
    def cookie(self) -> str:
        """What a page shows instead once it has shown the token. A token that is set outlives a restart, and so does this."""
        return hmac.new(self.token.encode(), b"dytrack_panel", "sha256").hexdigest()

    def accepts_cookie(self, cookie: str | None) -> bool:
        """Whether a page with this cookie may connect."""
        return not self.token or _equal(cookie or "", self.cookie)


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_name(host: str) -> str:
    """The name in a Host header, lower-case; empty where it is not name[:port]."""
    if "@" in host or "/" in host:
        return ""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.port is None or parts.port else ""
    except ValueError:
        return ""


def _bare(host: str, scheme: str) -> str:
    return host.lower().removesuffix({"http": ":80", "https": ":443"}[scheme])
