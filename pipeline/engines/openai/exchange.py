"""One HTTP request and its answer, on a connection of its own, so that another thread can break it off.

A connection is not kept for the next request: opening one costs milliseconds where an answer takes seconds, and a
request can then never meet a connection that the server has just given up.
"""

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from pipeline.errors import WorldError
from pipeline.tls import trusting

CONNECT_SECONDS = 5.0
MAX_BODY_BYTES = 16 * 1024 * 1024  # an answer of 32,000 tokens is a hundredth of this
SETTING = "REELMILL_ENGINE__URL"


class NotConnectedError(Exception):
    """The request never left: nothing listens there, or there is no trusted TLS connection."""


class BrokenOffError(Exception):
    """The request was sent, and the connection ended before its answer was complete."""


class OverdueError(Exception):
    """The answer took longer than it may."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server's API is."""

    url: str  #: without a slash at its end
    secure: bool
    host: str
    port: int
    path: str  #: of the API, such as `/v1`
    trust: ssl.SSLContext | None

    @property
    def root(self) -> str:
        """The path under which a server answers questions about itself."""
        return self.path.removesuffix("/v1")

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises WorldError that says what to set."""
        if not url:
            raise WorldError(f"set {SETTING} to where the server is, such as http://gpu-host:8000/v1")
        url = url.rstrip("/")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise WorldError(f"{SETTING} is no address of a server: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WorldError(f"{SETTING} is no address of a server: it must look like http://gpu-host:8000/v1")
        if parts.username is not None or parts.query or parts.fragment:
            raise WorldError(f"{SETTING} holds more than an address; a key belongs in REELMILL_ENGINE__API_KEY")
        secure = parts.scheme == "https"
        default_port = 443 if secure else 80
        return cls(url, secure, parts.hostname, port or default_port, parts.path, trusting() if secure else None)


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]  #: names in small letters
    body: bytes


class Exchange:
    """One request. `run` it in one thread; `abort` may be called from any."""

    def __init__(self, address: Address, seconds: float) -> None:
        """`seconds`: longest silence of the server once the request is sent."""
        self._seconds = seconds
        self._is_aborted = False
        self._wire: socket.socket | None = None  # the connection itself lets go of it before the answer is read
        if address.trust is not None:
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                address.host, address.port, timeout=CONNECT_SECONDS, context=address.trust
            )
        else:
            self._connection = http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_SECONDS)

    def run(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Received:
        """Raises NotConnectedError, BrokenOffError or OverdueError."""
        try:
            self._connect()
            return self._converse(method, path, headers, body)
        except TimeoutError as error:
            raise OverdueError(f"no answer within {self._seconds:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            if self._is_aborted:
                raise OverdueError("it was broken off") from error
            raise BrokenOffError(_words(error)) from error
        finally:
            self._connection.close()

    def abort(self) -> None:
        """End it: `run` raises OverdueError at once, and the server sees the connection go."""
        self._is_aborted = True
        if self._wire is not None:
            with suppress(OSError):  # it may just have ended by itself
                # Not the TLS layer's own shutdown: that one changes what the other thread is using.
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)

    def _connect(self) -> None:
        try:
            self._connection.connect()
        except (OSError, http.client.HTTPException) as error:
            raise NotConnectedError(_words(error)) from error
        self._wire = self._connection.sock
        self._wire.settimeout(self._seconds)
        if self._is_aborted:
            raise ConnectionAbortedError("aborted while it connected")

    def _converse(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Received:
        # A server that refuses a request may say so, and hang up, before it has read all of it.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request(method, path, body, {**headers, "Connection": "close"})
        with self._connection.getresponse() as response:
            received = response.read(MAX_BODY_BYTES + 1)
            missing = response.length or 0
        if self._is_aborted:  # cut short, an answer without a declared length looks complete
            raise ConnectionAbortedError("aborted while it was read")
        if missing and len(received) <= MAX_BODY_BYTES:
            raise http.client.IncompleteRead(received, missing)
        return Received(response.status, {name.lower(): value for name, value in response.getheaders()}, received)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
