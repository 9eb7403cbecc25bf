"""Sending one message, within a deadline, to an address that was looked at. Redirections are not followed."""

import base64
import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException

from standardwebhooks import Webhook

from pipeline import __version__
from pipeline.settings import SECRET_PREFIX
from pipeline.tls import trusting
from pipeline.webhooks.addresses import Target
from pipeline.webhooks.events import Event

#: The server is there, and says that it cannot take anything now.
BUSY = frozenset({429, 502, 503, 504})
GONE = 410
#: A connection that nobody takes for so long is not coming.
CONNECT_SECONDS = 5.0
#: Standard Webhooks asks for 24 to 64.
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of sending. `status` None: no answer."""

    status: int | None
    reason: str = ""

    @property
    def is_taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_away(self) -> bool:
        """Whether it lies with the server, so that other messages would fare no better now."""
        return self.status is None or self.status in BUSY


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed(event: Event, keys: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers of a message: a signature by each secret, so that a receiver may change over from one to another."""
    seconds = int(now.timestamp())
    at = datetime.fromtimestamp(seconds, UTC)
    return {
        "content-type": "application/json",
        "user-agent": f"reelmill/{__version__}",
        "webhook-id": event.id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(Webhook(key).sign(event.id, at, event.body) for key in keys),
    }


def post(target: Target, headers: Mapping[str, str], body: bytes, seconds: float) -> Reply:
    """Send a message. Whatever the server does, this returns within `seconds`; what it says is not read."""
    is_late = threading.Event()
    try:
        with ExitStack() as end:
            connection = HTTPConnection(target.host, target.port)
            connection.sock = _connected(target, seconds, is_late, end)
            connection.request("POST", target.path, body, {"Host": target.authority, "Connection": "close", **headers})
            response = connection.getresponse()
            reply = Reply(response.status, _plain(f"the server answered {response.status} {response.reason}"))
    except (OSError, HTTPException) as error:
        reply = Reply(None, _plain(f"no answer: {error!r}"))
    # A header that was cut off in its middle looks like the last one.
    return Reply(None, f"no whole answer within {seconds:.0f} s") if is_late.is_set() else reply


def _reached(target: Target, seconds: float) -> socket.socket:
    """A connection to the first address that takes one. Raises OSError."""
    share = min(seconds / len(target.addresses), CONNECT_SECONDS)
    for address in target.addresses[:-1]:
        try:
            return _connect(address, target.port, share, seconds)
        except OSError:
            continue
    return _connect(target.addresses[-1], target.port, share, seconds)


def _connect(address: str, port: int, wait: float, seconds: float) -> socket.socket:
    connection = socket.create_connection((address, port), timeout=wait)
    connection.settimeout(seconds)
    return connection


def _plain(words: str) -> str:
    """What somebody's server said, fit for a log and a terminal."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in words[:200])


def _connected(target: Target, seconds: float, is_late: threading.Event, end: ExitStack) -> socket.socket:
    """A socket that is shut at the deadline: a server that sends a byte now and then would not run into a timeout."""
    began = time.monotonic()
    plain = _reached(target, seconds)
    end.callback(plain.close)
    kept = plain.dup()  # wrapping closes the other one for whoever holds it
    end.callback(kept.close)

    def shut() -> None:
        is_late.set()
        with suppress(OSError):  # it ended at this very moment
            kept.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, began + seconds - time.monotonic()), shut)
    timer.daemon = True
    timer.start()
    end.callback(timer.cancel)
    if not target.is_secure:
        return plain
    return end.enter_context(trusting().wrap_socket(plain, server_hostname=target.host))
