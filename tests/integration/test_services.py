"""The embedded Valkey and SeaweedFS: they start, keep what they promised, and let no stranger in."""

import http.client
import importlib.metadata
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from pydantic import SecretStr

from pipeline import daemon, services
from pipeline.daemon import Daemon
from pipeline.errors import TransientError, WorldError
from pipeline.services import SeaweedFS, Valkey
from pipeline.settings import Redis
from pipeline.store import S3Store, open_store
from tests.conftest import need_wheel

KINDS = [Valkey, SeaweedFS]

Starter = Callable[[type[Daemon]], Daemon]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Valkey, SeaweedFS]]:
    """Both services on one directory, for tests that leave them as they are."""
    need_wheel(Valkey.wheel)
    need_wheel(SeaweedFS.wheel)
    data_dir = tmp_path_factory.mktemp("services")
    queue, objects = Valkey(data_dir), SeaweedFS(data_dir)
    try:
        queue.start()
        objects.start()
        yield queue, objects
    finally:
        objects.stop()
        queue.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Starter]:
    """`make(kind)` gives a stopped service of the test's own directory, and stops it in the end."""
    made: list[Daemon] = []

    def make_one(kind: type[Daemon]) -> Daemon:
        need_wheel(kind.wheel)
        made.append(kind(tmp_path))
        return made[-1]

    yield make_one
    for service in made:
        service.stop()


@pytest.fixture
def make_valkey(make: Starter) -> Callable[[], Valkey]:
    return lambda: make(Valkey)  # type: ignore[return-value]


def client_of(settings: Redis) -> redis.Redis:
    return redis.Redis.from_url(settings.url.get_secret_value(), socket_timeout=5)


def status_of(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


def secrets_of(data_dir: Path) -> set[str]:
    states = json.loads((data_dir / "services.json").read_text())
    return {secret for state in states.values() for secret in state["secrets"].values()}


class TestClosed:
    def test_a_wrong_or_missing_password_is_refused(self, running: tuple[Valkey, SeaweedFS]) -> None:
        address = running[0].url.rpartition("@")[2]
        for url in (f"redis://{address}", f"redis://:wrong@{address}"):
            with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
                client.get("x")

    def test_a_wrong_secret_key_is_refused(self, running: tuple[Valkey, SeaweedFS]) -> None:
        settings = running[1].settings
        stranger = S3Store(settings.model_copy(update={"secret_key": SecretStr("wrong")}))
        with pytest.raises(WorldError, match="secret"):
            stranger.get("x")

    def test_the_filer_shows_nothing_to_a_stranger(self, running: tuple[Valkey, SeaweedFS]) -> None:
        objects = running[1]
        open_store(objects.settings).create("jobs/secret", b"secret")
        for path in ("/buckets/reelmill/jobs/secret", "/buckets/reelmill/jobs/", "/"):
            assert status_of(objects._state.ports["filer"], path) == 401
        assert status_of(objects._state.ports["s3"], "/reelmill/jobs/secret") == 403

    def test_a_bucket_is_not_made_by_a_typing_error(self, running: tuple[Valkey, SeaweedFS]) -> None:
        with pytest.raises(WorldError, match="no such bucket"):
            S3Store(running[1].settings.model_copy(update={"bucket": "reelmil"})).create("x", b"x")

    def test_they_listen_on_this_machine_only(self, running: tuple[Valkey, SeaweedFS]) -> None:
        for service in running:
            listening = [
                connection.laddr
                for connection in psutil.Process(service.pid).net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
            assert {address.ip for address in listening} == {"127.0.0.1"}
            chosen = set(service._state.ports.values())
            assert {address.port for address in listening} <= chosen | {port + 10_000 for port in chosen}

    def test_no_secret_is_in_the_arguments_or_the_log(self, running: tuple[Valkey, SeaweedFS]) -> None:
        secrets = secrets_of(running[0]._data_dir)
        assert len(secrets) == 6  # all different
        for service in running:
            # Valkey rewrites its own arguments a moment after its start: look at what it was started with, too.
            arguments = [*psutil.Process(service.pid).cmdline(), *service._arguments()]
            shown = " ".join(arguments) + service._log.read_text()
            assert not [secret for secret in secrets if secret in shown]

    def test_only_the_owner_can_read_what_they_write(self, running: tuple[Valkey, SeaweedFS]) -> None:
        data_dir = running[0]._data_dir
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        names = ("services.json", "valkey/valkey.conf", "seaweedfs/s3.json", "seaweedfs/security.toml")
        for path in [data_dir / name for name in names] + [service._log for service in running]:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    def test_a_valkey_that_takes_any_password_is_stopped(self, make: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
        configure = Valkey._configure

        def careless(self: Valkey) -> None:
            configure(self)
            with (self._dir / "valkey.conf").open("a") as config:
                config.write("user default on nopass ~* &* +@all\n")

        monkeypatch.setattr(Valkey, "_configure", careless)
        queue = make(Valkey)
        with pytest.raises(WorldError, match="answers without a password"):
            queue.start()
        assert not queue.alive

    def test_a_seaweedfs_that_takes_any_secret_key_is_stopped(
        self, make: Starter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = SeaweedFS._arguments
        monkeypatch.setattr(
            SeaweedFS, "_arguments", lambda self: [flag for flag in arguments(self) if "s3.config" not in flag]
        )
        objects = make(SeaweedFS)
        with pytest.raises(WorldError, match="accepts a wrong secret key"):
            objects.start()
        assert not objects.alive


class TestRestart:
    def test_an_object_and_a_key_survive_and_nobody_needs_a_new_address(self, make: Starter) -> None:
        queue, objects = make(Valkey), make(SeaweedFS)
        queue.start()
        objects.start()
        queue_settings, objects_settings = queue.settings, objects.settings
        store, client = open_store(objects_settings), client_of(queue_settings)
        assert store.create("jobs/1", b"kept")
        client.set("key", "kept")
        queue.stop()
        objects.stop()
        assert not queue.alive
        assert not objects.alive
        with pytest.raises(TransientError):
            store.get("jobs/1")

        again = [make(Valkey), make(SeaweedFS)]
        for service in again:
            service.start()
        assert (again[0].settings, again[1].settings) == (queue_settings, objects_settings)
        assert store.get("jobs/1") == b"kept"  # the clients of before go on
        assert store.create("jobs/1", b"other") is False
        assert client.get("key") == b"kept"
        client.close()

    def test_an_object_survives_a_move_to_new_ports(self, make: Starter) -> None:
        objects = make(SeaweedFS)
        objects.start()
        assert open_store(objects.settings).create("jobs/1", b"kept")
        objects.stop()
        with socket.create_server(("127.0.0.1", objects._state.ports["s3"])):
            moved = make(SeaweedFS)
            moved.start()
            assert moved.endpoint != objects.endpoint
            assert moved.settings.secret_key == objects.settings.secret_key
            assert open_store(moved.settings).get("jobs/1") == b"kept"
            assert open_store(moved.settings).create("jobs/2", b"new")

    def test_valkey_keeps_what_it_acknowledged_when_killed(self, make_valkey: Callable[[], Valkey]) -> None:
        queue = make_valkey()
        queue.start()
        client = client_of(queue.settings)
        for number in range(1_000):
            client.rpush("queue", number)
        time.sleep(1.2)  # everysec: the promise begins after a second
        os.kill(queue.pid or 0, signal.SIGKILL)
        wait_until(lambda: not queue.alive)
        queue.start()
        assert client.llen("queue") == 1_000
        client.close()

    def test_seaweedfs_keeps_what_it_acknowledged_when_killed(self, make: Starter) -> None:
        objects = make(SeaweedFS)
        objects.start()
        store = open_store(objects.settings)
        for number in range(100):
            assert store.create(f"jobs/{number}", b"%d" % number)
        os.kill(objects.pid or 0, signal.SIGKILL)
        wait_until(lambda: not objects.alive)
        objects.start()
        assert [store.get(f"jobs/{number}") for number in range(100)] == [b"%d" % number for number in range(100)]

    def test_a_second_start_changes_nothing(self, running: tuple[Valkey, SeaweedFS]) -> None:
        for service in running:
            pid = service.pid
            service.start()
            assert service.pid == pid

    def test_stop_is_harmless_twice(self, make_valkey: Callable[[], Valkey]) -> None:
        queue = make_valkey()
        queue.stop()
        queue.start()
        queue.stop()
        queue.stop()
        assert queue.pid is None

    def test_seaweedfs_serves_only_when_its_lock_service_has_settled(
        self, make: Starter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        healthy, seen = services._healthy, []

        def watched(port: int) -> bool:
            if healthy(port):
                seen.append(time.monotonic())
            return bool(seen)

        monkeypatch.setattr(services, "_healthy", watched)
        make(SeaweedFS).start()
        assert time.monotonic() - seen[0] > services.SETTLE_SECONDS

    def test_seaweedfs_leaves_no_sockets_behind(self, make: Starter) -> None:
        objects = make(SeaweedFS)
        objects.start()
        name = f"seaweedfs-*-{objects._state.ports['s3']}.sock"
        assert list(Path("/tmp").glob(name))
        objects.stop()
        assert not list(Path("/tmp").glob(name))

    def test_a_frozen_server_is_killed_at_the_deadline(
        self, make_valkey: Callable[[], Valkey], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(daemon, "STOP_SECONDS", 0.3)
        queue = make_valkey()
        queue.start()
        process = psutil.Process(queue.pid)
        process.suspend()
        queue.stop()
        assert not process.is_running()


class TestOwner:
    def test_a_directory_in_use_is_refused(self, running: tuple[Valkey, SeaweedFS]) -> None:
        for service in running:
            with pytest.raises(WorldError, match="already runs"):
                type(service)(service._data_dir).start()
            assert service.alive

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
    def test_a_killed_supervisor_takes_its_services_along(self, tmp_path: Path) -> None:
        supervisor, pid = start_elsewhere(tmp_path)
        supervisor.kill()
        supervisor.wait()
        wait_until(lambda: not is_alive(pid))

    def test_what_a_killed_supervisor_left_is_ended_by_the_next_start(
        self, tmp_path: Path, make_valkey: Callable[[], Valkey]
    ) -> None:
        supervisor, pid = start_elsewhere(tmp_path, platform="other")
        supervisor.kill()
        supervisor.wait()
        assert is_alive(pid)
        queue = make_valkey()
        queue.start()
        assert not is_alive(pid)
        assert queue.pid != pid

    def test_a_stranger_with_the_old_pid_is_left_alone(self, tmp_path: Path, make_valkey: Callable[[], Valkey]) -> None:
        stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        try:
            queue = make_valkey()
            queue.start()
            queue.stop()
            state = json.loads((tmp_path / "services.json").read_text())
            state["valkey"]["process"]["pid"] = stranger.pid
            state["valkey"]["process"]["started"] -= 3600
            state["valkey"]["owner"] = None
            (tmp_path / "services.json").write_text(json.dumps(state))
            queue.start()
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()

    def test_they_are_out_of_reach_of_ctrl_c(self, running: tuple[Valkey, SeaweedFS]) -> None:
        for service in running:
            assert os.getsid(service.pid or 0) == service.pid != os.getsid(0)


class TestRefusals:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_missing_wheel_names_the_remedy(
        self, kind: type[Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def files(_: str) -> None:
            raise importlib.metadata.PackageNotFoundError

        monkeypatch.setattr(importlib.metadata, "files", files)
        with pytest.raises(WorldError, match=r'pip install "reelmill\[local\]"'):
            kind(tmp_path).start()

    def test_a_server_that_ends_at_once_shows_its_log(
        self, make_valkey: Callable[[], Valkey], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Valkey, "_arguments", lambda _: ["no-such.conf"])
        queue = make_valkey()
        with pytest.raises(WorldError, match=r"(?s)ended while it started.*no-such\.conf"):
            queue.start()
        assert queue.pid is None

    def test_a_server_that_hangs_is_given_up(
        self, make_valkey: Callable[[], Valkey], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(daemon, "START_SECONDS", 0.3)
        monkeypatch.setattr(Valkey, "_ready", lambda _: False)
        queue = make_valkey()
        with pytest.raises(WorldError, match=r"not ready after 0\.3 s"):
            queue.start()
        assert queue.pid is None

    def test_damaged_state_is_named(self, tmp_path: Path, make_valkey: Callable[[], Valkey]) -> None:
        (tmp_path / "services.json").write_text('{"valkey": ')
        with pytest.raises(WorldError, match=r"services\.json is damaged"):
            make_valkey().start()


def start_elsewhere(data_dir: Path, platform: str = sys.platform) -> tuple[subprocess.Popen[str], int]:
    """A supervisor in a process of its own that started Valkey, and Valkey's pid."""
    need_wheel(Valkey.wheel)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom pipeline.services import Valkey\n"
        f"sys.platform = {platform!r}\nqueue = Valkey(Path(sys.argv[1]))\nqueue.start()\n"
        "print(queue.pid, flush=True)\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(data_dir)]
    supervisor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert supervisor.stdout
    pid = int(supervisor.stdout.readline())
    supervisor.stdout.close()
    assert is_alive(pid)
    return supervisor, pid


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
