"""Access control of the panel: host names, origins, and the access token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

MIN_TOKEN_LENGTH = 12


def is_loopback(host: str) -> bool:
    """Return whether a server that listens on ``host`` can be reached from this machine only."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


class Gate:
    """Accepts or refuses requests.

    A page of another site can send requests here from the operator's browser. It cannot forge `Origin`. If it makes a
    name of its own point here (DNS rebinding), it cannot forge `Host`. Both headers are checked. An address in `Host`
    cannot be rebound. Of names, only `localhost`, this machine's own and ``names`` are accepted.

    Attributes:
        token: what a page must send, "" where every page of this machine may connect.
        is_generated: the token was generated here; otherwise the user has set it, and it must not be logged.

    Raises:
        ValueError: the token is too short.
    """

    def __init__(self, host: str, token: str = "", names: Iterable[str] = ()) -> None:
        if token and (len(token) < MIN_TOKEN_LENGTH or not token.isascii()):
            raise ValueError(
                f"token must have at least {MIN_TOKEN_LENGTH} ASCII characters, not {len(token)}; "
                "leave it empty to have one generated where other machines can connect"
            )
        self.is_generated = not token and not is_loopback(host)
        self.token = secrets.token_urlsafe(16) if self.is_generated else token
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", host.lower(), *(name.lower() for name in names)}

    def refusal(self, host: str | None, origin: str | None, needs_origin: bool = False) -> str:
        """Return why a request with these headers is refused; empty if it is accepted.

        ``needs_origin``: the request is one that browsers always send with `Origin`.
        """
        name = _host_name(host or "")
        if host is None or not name:
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
        """Return whether this is the token (in constant time)."""
        return isinstance(token, str) and _equal(token, self.token)

    @property
    def cookie(self) -> str:
        """The value that replaces the token once a page has sent it. For a token that the user set it stays the same
        when the node restarts."""
        return hmac.new(self.token.encode(), b"dytrack_panel", "sha256").hexdigest()

    def accepts_cookie(self, cookie: str | None) -> bool:
        """Return whether a page with this cookie may connect."""
        return not self.token or _equal(cookie or "", self.cookie)


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_name(host: str) -> str:
    """Return the name in a Host header, lower-case; empty where the header is not name[:port]."""
    if "@" in host or "/" in host:
        return ""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.port is None or parts.port else ""
    except ValueError:
        return ""


def _bare(host: str, scheme: str) -> str:
    return host.lower().removesuffix({"http": ":80", "https": ":443"}[scheme])
