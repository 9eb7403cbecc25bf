"""Machines for a test: network namespaces on one switch, with addresses of their own, that can be cut off.

Needs root and `ip` (iproute2). Nothing of the machine's own network is touched: the switch is in a namespace, too.
"""

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import unavailable

_CLONE_NEWNET = 0x4000_0000
#: For documentation (RFC 5737): no network that the machine is in has it.
_ADDRESS = "198.51.100."


@dataclass(frozen=True)
class Host:
    """A machine: what is started while this thread is `inside` runs there, and cannot be seen from elsewhere but by its
    address."""

    namespace: str
    address: str
    _switch: str
    _port: str

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move this thread, and what it starts, to the host."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as before,
            Path("/run/netns", self.namespace).open("rb") as there,
        ):
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Pull its cable: nothing comes or goes, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port, "down")
        try:
            yield
        finally:
            _ip("-n", self._switch, "link", "set", self._port, "up")


@contextmanager
def network(*names: str) -> Iterator[tuple[Host, ...]]:
    """A host for each name. Skips the test where that cannot be had; fails it there in CI."""
    if os.geteuid() != 0:
        unavailable("needs root, to make network namespaces")
    if shutil.which("ip") is None:
        unavailable("needs ip: apt-get install iproute2")
    run = secrets.token_hex(3)
    switch = f"reelmill-{run}-switch"
    with ExitStack() as stack:
        _add_namespace(stack, switch)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        hosts = []
        for number, name in enumerate(names, start=1):
            host = Host(f"reelmill-{run}-{name}", f"{_ADDRESS}{number}", switch, f"port{number}")
            _add_namespace(stack, host.namespace)
            cable = ("link", "add", host._port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            _ip("-n", switch, *cable)
            _ip("-n", switch, "link", "set", host._port, "master", "switch", "up")
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.namespace, "link", "set", "eth0", "up")
            _ip("-n", host.namespace, "link", "set", "lo", "up")
            hosts.append(host)
        yield tuple(hosts)


def _add_namespace(stack: ExitStack, name: str) -> None:
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
