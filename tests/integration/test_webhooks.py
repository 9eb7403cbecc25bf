"""Sending over real sockets: what a server may do to whoever tells it something."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import trustme
from standardwebhooks import Webhook

from pipeline.webhooks import posting
from pipeline.webhooks.addresses import Target, locate
from pipeline.webhooks.events import Event
from pipeline.webhooks.posting import Reply, new_secret, post
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.integration

SECRET = new_secret()
EVENT = Event("msg_1", datetime.now(UTC), '{"type":"job.done","data":{"job":"j1"}}')
SECONDS = 2.0


def send(url: str) -> Reply:
    headers = posting.signed(EVENT, [SECRET], datetime.now(UTC))
    return post(locate(url, private=True), headers, EVENT.body.encode(), SECONDS)


def test_a_message_arrives_as_the_public_library_expects_it() -> None:
    with Receiver(SECRET).serving() as receiver:
        assert send(receiver.url).is_taken
    (delivery,) = receiver.deliveries
    assert delivery.is_signed
    assert (delivery.id, delivery.body, delivery.subject) == (EVENT.id, EVENT.body, "j1")


def test_another_secret_is_noticed() -> None:
    with Receiver(new_secret()).serving() as receiver:
        send(receiver.url)
    assert not receiver.deliveries[0].is_signed


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed(status: int) -> None:
    with Receiver(SECRET, lambda body: status).serving() as receiver:
        reply = send(receiver.url)
    assert (reply.status, reply.is_taken, reply.is_away) == (status, False, False)
    assert len(receiver.deliveries) == 1


def test_the_next_address_is_tried_where_one_takes_no_connection() -> None:
    with Receiver(SECRET).serving() as receiver:
        target = locate(receiver.url, private=True)
        several = replace(target, addresses=("127.0.0.9", *target.addresses))
        headers = posting.signed(EVENT, [SECRET], datetime.now(UTC))
        assert post(several, headers, EVENT.body.encode(), SECONDS).is_taken


def test_what_a_server_says_does_nothing_to_a_log_or_a_terminal() -> None:
    with trickling(b"HTTP/1.1 500 \x1b[2Joops" + b"!" * 500 + b"\r\ncontent-length: 5\r\n\r\n") as url:
        reply = send(url)
    assert reply.status == 500
    assert reply.reason.isprintable()
    assert len(reply.reason) <= 200


def test_who_hangs_up_or_does_not_listen_is_away() -> None:
    with Receiver(SECRET, lambda body: None).serving() as receiver:
        assert send(receiver.url).is_away
    assert send(receiver.url).is_away  # nobody listens there any more


@contextmanager
def trickling(first: bytes, *, tls: bool = False) -> Iterator[str]:
    """A server that says a byte now and then, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(first)
                    while not stop.wait(0.1):
                        connection.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.getsockname()[1]}/"
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("first", "tls"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\nx-long: ", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"\x16\x03\x03\xff\xff", True),
    ],
    ids=["status", "header", "continue", "handshake"],
)
def test_a_server_that_never_ends_its_answer_holds_nobody_beyond_the_deadline(first: bytes, tls: bool) -> None:
    with trickling(first, tls=tls) as url:
        began = time.monotonic()
        reply = send(url)
        assert time.monotonic() - began < SECONDS + 1.5
    assert reply.status is None


def test_an_endless_body_is_not_read() -> None:
    with trickling(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n") as url:
        began = time.monotonic()
        assert send(url).is_taken
        assert time.monotonic() - began < SECONDS


@contextmanager
def tls_server(authority: trustme.CA, name: str) -> Iterator[tuple[int, list[bytes]]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    whole = b""
                    while not whole.endswith(b"{}"):
                        whole += secure.recv(65_536)
                    received.append(whole)
                    secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], received
        thread.join(5)


def test_a_certificate_must_be_for_the_name_though_the_address_was_looked_up_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    monkeypatch.setattr(posting, "trusting", lambda: trust)
    with tls_server(authority, "hooks.example.com") as (port, received):
        target = Target("hooks.example.com", port, ("127.0.0.1",), "/a?b=c", is_secure=True)
        assert post(target, {"webhook-id": "1"}, b"{}", SECONDS).is_taken
    assert received[0].startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert b"\r\nHost: hooks.example.com:%d\r\n" % port in received[0]
    with tls_server(authority, "other.example.com") as (port, received):
        target = Target("hooks.example.com", port, ("127.0.0.1",), "/", is_secure=True)
        reply = post(target, {}, b"{}", SECONDS)
    assert (reply.status, received) == (None, [])
    assert "certificate" in reply.reason.lower()


def test_a_certificate_of_nobody_who_is_trusted_is_refused() -> None:
    with tls_server(trustme.CA(), "hooks.example.com") as (port, received):
        target = Target("hooks.example.com", port, ("127.0.0.1",), "/", is_secure=True)
        assert post(target, {}, b"{}", SECONDS).is_away
    assert received == []


def test_a_signature_is_over_the_second_that_is_told() -> None:
    headers = posting.signed(EVENT, [SECRET], datetime.now(UTC))
    assert Webhook(SECRET).verify(EVENT.body, headers) == {"type": "job.done", "data": {"job": "j1"}}
