"""Where messages may go. Anybody who submits names an address, so the mill's own network is not to be reached by it.

A name is resolved once; every address that it has must be allowed, and only those are connected to, so that a name
server which answers otherwise the next time changes nothing (OWASP, Server Side Request Forgery Prevention).
"""

import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from pipeline.errors import PermanentError, TransientError, UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: The addresses of a host and a port, as text. Raises OSError.
Resolve = Callable[[str, int], Sequence[str]]

MAX_LENGTH = 2_000
#: A name server may keep silent for as long as it likes.
LOOKUP_SECONDS = 5.0
PORTS = {"https": 443, "http": 80}
PRIVATE_SETTING = "REELMILL_WEBHOOKS__PRIVATE=true"
#: Networks of IPv6 whose last 32 bits are an address of IPv4, which a gateway translates or an old system means
#: (RFC 4291, 6052, 8215).
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
#: The same for a gateway of one's own network, which chooses where in it the address of IPv4 is (RFC 8215, 6052).
_TRANSLATED_HERE = ipaddress.IPv6Network("64:ff9b:1::/48")
#: The bytes of an address in which that may be, by the length of the gateway's prefix.
_PLACES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
#: The only addresses of IPv6 that are given out to the public (RFC 4291).
_PUBLIC = ipaddress.IPv6Network("2000::/3")
#: Addresses that a provider shares among its customers, or a company's machines use between them (RFC 6598).
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")
#: Where clouds tell a machine its own keys, beside the link-local addresses: Amazon, Google, Azure, Alibaba.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200")))
#: Of protocols, not of servers (RFC 6890); Oracle's cloud has its keys there, and Pythons differ about what is public.
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")


@dataclass(frozen=True, slots=True)
class Target:
    """A server whose addresses were looked at."""

    host: str
    port: int
    addresses: tuple[str, ...]
    path: str  #: with its query
    is_secure: bool

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.is_secure else "http"] else f"{host}:{self.port}"


def check(url: str, *, private: bool) -> str:
    """The URL itself. Raises UsageError when nothing can be sent there. `private`: also without TLS, on any port."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no address for a webhook: {error}") from error
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_LENGTH
    if not is_plain or parts.scheme not in PORTS or not parts.hostname:
        raise UsageError(f"{url!r} is no address for a webhook: write https://host/path")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UsageError("the address of a webhook holds no password and no #fragment: messages are signed")
    if not private and (parts.scheme != "https" or port not in (None, PORTS["https"])):
        raise UsageError(f"webhooks go to https:// on its own port; to servers of your own, with {PRIVATE_SETTING}")
    return url


def resolve_host(host: str, port: int) -> Sequence[str]:
    """Within a deadline, which the system's resolver has not got: one that is late goes on by itself."""
    box: SimpleQueue[Sequence[str] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            box.put(error)
        else:
            box.put(list(dict.fromkeys(str(where[0]) for *_, where in found)))

    threading.Thread(target=look_up, name="webhook name", daemon=True).start()
    try:
        outcome = box.get(timeout=LOOKUP_SECONDS)
    except Empty:
        raise TimeoutError(f"no name server answered within {LOOKUP_SECONDS:.0f} s") from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def locate(url: str, *, private: bool, resolve: Resolve = resolve_host) -> Target:
    """Where to connect to. Raises PermanentError for what must not be reached, TransientError when it is not found."""
    try:
        check(url, private=private)
    except UsageError as error:
        raise PermanentError(str(error)) from error
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise TransientError(f"the host {host} is not found", str(error)) from error
    for address in addresses:
        if not _is_allowed(ipaddress.ip_address(address.split("%", 1)[0]), private=private):
            raise PermanentError(f"{host} is {address}, in a network that webhooks do not go to ({PRIVATE_SETTING})")
    if not addresses:
        raise TransientError(f"the host {host} has no address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port, tuple(addresses), path, is_secure=parts.scheme == "https")


def _is_allowed(address: Address, *, private: bool) -> bool:
    if address in _TRANSLATED_HERE:
        return private and not any(map(_is_forbidden, _possible(address)))
    meant = _meant(address)
    if _is_forbidden(meant) or meant.is_multicast or meant.is_unspecified:
        return False
    if meant.is_global and (meant.version == 4 or meant in _PUBLIC):
        return True
    return private and (meant.is_private or meant in _SHARED)


def _is_forbidden(address: Address) -> bool:
    """Whether nobody has a server there that is to be told anything."""
    return address.is_link_local or address in _METADATA or address in _PROTOCOLS


def _possible(address: Address) -> Sequence[Address]:
    """What a gateway of one's own may make of an address."""
    return [ipaddress.IPv4Address(bytes(address.packed[place] for place in places)) for places in _PLACES]


def _meant(address: Address) -> Address:
    """The address of IPv4 that one of IPv6 stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
