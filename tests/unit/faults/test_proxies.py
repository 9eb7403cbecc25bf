"""The TCP proxy does to connections what its switches say, and nothing else."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults import proxies
from tests.faults.proxies import TcpProxy

QUICK = 0.2  # seconds in which a reply would be here


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    """Before a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(100):
                connection.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    proxy = TcpProxy(server.getsockname())
    yield proxy
    proxy.close()
    server.close()


def connected(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def reply(client: socket.socket, words: bytes, seconds: float = 5) -> bytes | None:
    """What comes back, `None` when nothing does in time."""
    client.settimeout(seconds)
    client.sendall(words)
    try:
        return client.recv(100)
    except TimeoutError:
        return None


def test_everything_passes_unless_told_otherwise(proxy: TcpProxy) -> None:
    with connected(proxy) as client:
        assert reply(client, b"one") == b"one"


def test_a_connection_that_is_silent_for_longer_than_connecting_may_take_stays(
    proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies, "CONNECT_SECONDS", QUICK / 2)
    with connected(proxy) as client:
        assert reply(client, b"one") == b"one"
        time.sleep(2 * QUICK)
        assert reply(client, b"two") == b"two"


def test_what_was_held_back_arrives_when_the_stall_ends(proxy: TcpProxy) -> None:
    with connected(proxy) as client:
        assert reply(client, b"one") == b"one"
        proxy.stall(requests=False)
        assert reply(client, b"two", QUICK) is None
        proxy.heal()
        client.settimeout(5)
        assert client.recv(100) == b"two"


def test_a_cut_resets_connections_and_loses_what_was_held_back(proxy: TcpProxy) -> None:
    with connected(proxy) as client:
        assert reply(client, b"one") == b"one"
        proxy.stall(requests=False)
        assert reply(client, b"two", QUICK) is None
        proxy.cut()
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with connected(proxy) as client:
        assert reply(client, b"three") == b"three"


def test_an_abandoned_connection_stays_dead_without_a_sign_while_new_ones_work(proxy: TcpProxy) -> None:
    with connected(proxy) as old, connected(proxy) as new:
        assert reply(old, b"one") == b"one"
        proxy.abandon()
        assert reply(old, b"two", QUICK) is None
        proxy.heal()
        assert reply(old, b"three", QUICK) is None
        new.close()
        with connected(proxy) as newer:
            assert reply(newer, b"four") == b"four"


def test_clients_can_be_moved_to_another_server(proxy: TcpProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, connected(proxy) as client:
        assert reply(client, b"one") == b"one"
        proxy.target = other.getsockname()
        proxy.cut()
        with connected(proxy):
            other.settimeout(5)
            moved, _ = other.accept()
            moved.close()
