"""A TCP proxy before Redis that stalls, cuts, slows down and abandons connections: what a bad network does to them.

Bytes are held back, never dropped, as TCP would send them again: they arrive when the stall ends, or are lost with
their connection when that is cut.
"""

import socket
import struct
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipeline.settings import Redis

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST
CHUNK_BYTES = 65_536
CONNECT_SECONDS = 5


class Link:
    """One connection of a client, and ours to the server behind it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.abandoned = False
        """No byte passes any more, and neither side is ever told."""

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # wakes whoever reads from it, and sends nothing
            end.close()


class TcpProxy:
    """Passes everything on unless one of the switches is set. Change `target` and cut to move clients elsewhere."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay = 0.0
        """Seconds that each chunk waits, in both directions."""
        self._replies_flow = threading.Event()
        self._requests_flow = threading.Event()
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.heal()
        threading.Thread(target=self._accept, name="tcp-proxy", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def stall(self, *, requests: bool = True) -> None:
        """Let nothing through: a network that is cut in two. `requests` False: only replies are held back."""
        self._replies_flow.clear()
        if requests:
            self._requests_flow.clear()

    def heal(self) -> None:
        """Let everything through again, what was held back first. Abandoned connections stay what they are."""
        self.delay = 0.0
        self._replies_flow.set()
        self._requests_flow.set()

    def cut(self) -> None:
        """Reset all connections; what is held back in them is lost."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            link.close()

    def abandon(self) -> None:
        """Let all present connections go dead without a sign, as when a router between them forgets them."""
        with self._lock:
            for link in self._links:
                link.abandoned = True

    def close(self) -> None:
        self._closed = True
        self.heal()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._requests_flow.wait()  # a stalled network does not connect
        try:
            server = socket.create_connection(self.target, CONNECT_SECONDS)
        except OSError:
            client.close()
            return
        server.settimeout(None)  # how long connecting may take says nothing about how long a connection may be silent
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(client, server)
        with self._lock:
            self._links.add(link)
        threading.Thread(target=self._pump, args=(link, server, client, self._replies_flow), daemon=True).start()
        self._pump(link, client, server, self._requests_flow)

    def _pump(self, link: Link, source: socket.socket, sink: socket.socket, flow: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                time.sleep(self.delay)
                flow.wait()
                if link.abandoned:
                    continue
                sink.sendall(data)
        if link.abandoned:
            return  # nobody is told
        with self._lock:
            self._links.discard(link)
        link.close()


def address(url: str) -> tuple[str, int]:
    """Host and port of a server by its URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def through(settings: Redis, port: int) -> Redis:
    """The same server by way of a local port."""
    parts = urlsplit(settings.url.get_secret_value())
    place = f":{parts.password}@127.0.0.1:{port}"
    return settings.model_copy(update={"url": SecretStr(parts._replace(netloc=place).geturl())})
