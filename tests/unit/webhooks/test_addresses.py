"""Where webhooks may go, and what must never be reached through them."""

import socket
import threading
import time

import pytest

from pipeline.errors import PermanentError, TransientError, UsageError
from pipeline.webhooks import addresses
from pipeline.webhooks.addresses import Target, check, locate

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://example.com/hook?token=a%20b",
        "https://example.com:443",
        "https://[2606:4700::1]/",
    ],
)
def test_an_https_address_is_fine(url: str) -> None:
    assert check(url, private=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\nx-injected: 1",
        "https://exämple.com/",
        "https://example.com/" + "a" * 2_000,
        "https://user:secret@example.com/",
        "https://example.com/#part",
    ],
)
def test_what_is_no_address_is_refused_with_or_without_a_network_of_ones_own(url: str) -> None:
    for private in (False, True):
        with pytest.raises(UsageError, match="webhook"):
            check(url, private=private)


@pytest.mark.parametrize("url", ["http://example.com/", "https://example.com:8443/"])
def test_other_ports_and_plain_text_are_for_ones_own_servers(url: str) -> None:
    with pytest.raises(UsageError, match="REELMILL_WEBHOOKS__PRIVATE"):
        check(url, private=False)
    assert check(url, private=True) == url


def test_a_name_is_resolved_once_and_that_address_is_used() -> None:
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    target = locate("https://example.com/hook?a=1", private=False, resolve=resolve)
    assert target == Target("example.com", 443, (PUBLIC,), "/hook?a=1", is_secure=True)
    assert target.authority == "example.com"
    assert asked == [("example.com", 443)]


NEVER = [
    "169.254.169.254", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fd00:ec2::254",
    "::ffff:169.254.169.254", "168.63.129.16", "fd20:ce::254", "64:ff9b:1::a9fe:a9fe",
    "192.0.0.192", "192.0.0.9", "::ffff:192.0.0.192", "100.100.100.200", "64:ff9b::6464:64c8",
    "64:ff9b:1:a9fe:a9:fe00:808:808", "64:ff9b:1:64:64:64c8:808:808", "64:ff9b:1:0:a9:fea9:fe08:808",
]  # fmt: skip
OWN = [
    "127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "::1", "fd12::1",
    "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::",
    "::127.0.0.1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b:1::7f00:1", "100.64.0.1",
]  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [*NEVER, *OWN, "fec0::1", "198.18.0.1", "192.0.2.1", "4000::1", "64:ff9b:1::808:808", "64:ff9b:1:808:8:800::"],
)
def test_no_address_of_a_private_network_is_reached(address: str) -> None:
    with pytest.raises(PermanentError, match="network"):
        locate("https://example.com/", private=False, resolve=lambda *_: [address])


@pytest.mark.parametrize("address", NEVER)
def test_where_a_cloud_keeps_its_keys_is_never_reached(address: str) -> None:
    with pytest.raises(PermanentError, match="network"):
        locate("http://example.com/", private=True, resolve=lambda *_: [address])


@pytest.mark.parametrize("address", OWN)
def test_ones_own_servers_are_reached_where_that_is_set(address: str) -> None:
    assert locate("http://receiver:8080/", private=True, resolve=lambda *_: [address]).addresses == (address,)


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(PermanentError, match=r"10\.0\.0\.7"):
        locate("https://example.com/", private=False, resolve=lambda *_: [PUBLIC, "10.0.0.7"])


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"])
def test_other_ways_to_write_an_address_are_seen_through(host: str) -> None:
    """The system's own resolver reads them, so what it makes of them is what is looked at."""
    with pytest.raises(PermanentError, match=r"169\.254\.169\.254"):
        locate(f"https://{host}/", private=False)


def test_a_name_that_is_not_found_may_be_found_later() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(TransientError, match="not found"):
        locate("https://example.com/", private=False, resolve=resolve)
    with pytest.raises(TransientError, match="no address"):
        locate("https://example.com/", private=False, resolve=lambda *_: [])


def test_a_name_server_that_keeps_silent_holds_nobody_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(addresses, "LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [][: answered.wait(30)])
    began = time.monotonic()
    with pytest.raises(TransientError, match="not found") as caught:
        locate("https://example.com/", private=False)
    assert "no name server answered" in caught.value.detail
    assert time.monotonic() - began < 10
    answered.set()


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", "64:ff9b::5db8:d822"])
def test_a_public_address_of_either_kind_is_reached(address: str) -> None:
    assert locate("https://example.com/", private=False, resolve=lambda *_: [address]).addresses == (address,)


def test_the_host_header_has_the_port_that_is_not_the_usual_one() -> None:
    assert Target("h", 8080, ("10.0.0.1",), "/", is_secure=False).authority == "h:8080"
    assert Target("::1", 80, ("::1",), "/", is_secure=False).authority == "[::1]"
