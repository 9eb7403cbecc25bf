"""Real services for the tests: one Valkey and one SeaweedFS per run, a namespace and a bucket per test.

A service whose wheel is missing skips the tests that need it on a laptop, and fails them where CI=true.
"""

import importlib.metadata
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig
from PIL import Image

from pipeline.services import SeaweedFS, Valkey
from pipeline.settings import S3, Limits, Redis
from pipeline.store import DirectoryStore, ObjectStore, S3Store, open_store
from tests.s3_proxy import S3Proxy, serving

TESTS = Path(__file__).parent
MARKED_FOLDERS = ("integration", "acceptance")

# In CI the same examples every time: what is found on a laptop becomes an example, what lands is not a lottery.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("laptop", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "laptop")

for name in [name for name in os.environ if name.upper().startswith("REELMILL_")]:
    del os.environ[name]  # a developer's own settings must not steer the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder. The longest go first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: (TESTS / "acceptance") not in item.path.parents)
    for item in items:
        for folder in MARKED_FOLDERS:
            if TESTS / folder in item.path.parents:
                item.add_marker(folder)


@pytest.fixture(autouse=True)
def _usual_limit_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one for the whole process, and tests of pictures leave theirs behind."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Limits().pixels)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A running Valkey, shared by the whole run."""
    need_wheel(Valkey.wheel)
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.settings
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A running SeaweedFS, shared by the whole run."""
    need_wheel(SeaweedFS.wheel)
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    yield server.settings
    server.stop()


@pytest.fixture
def redis_settings(valkey: Redis) -> Redis:
    """A namespace of the test's own."""
    return valkey.model_copy(update={"namespace": f"test-{secrets.token_hex(4)}"})


@pytest.fixture
def make_bucket(s3: S3) -> Iterator[Callable[..., S3]]:
    """`make_bucket()` gives the settings of a new bucket; with `versioned=True` it keeps every write of a key."""
    client = sdk_client(s3)
    made: list[str] = []

    def make(versioned: bool = False) -> S3:
        bucket = f"test-{secrets.token_hex(6)}"
        made.append(bucket)
        client.make_bucket(bucket)
        if versioned:
            client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
        return s3.model_copy(update={"bucket": bucket})

    yield make
    for bucket in made:
        client.remove_bucket(bucket)  # SeaweedFS removes the objects with it


@pytest.fixture
def s3_settings(make_bucket: Callable[..., S3]) -> S3:
    """An empty bucket of the test's own."""
    return make_bucket()


@pytest.fixture
def versioned_s3_settings(make_bucket: Callable[..., S3]) -> S3:
    """An empty bucket of the test's own that keeps every version, so that a test can count the writes of a key."""
    return make_bucket(versioned=True)


@pytest.fixture
def s3_store(s3_settings: S3) -> S3Store:
    return open_store(s3_settings)


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Every kind of store, for the tests of the contract."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    s3_store: S3Store = request.getfixturevalue("s3_store")
    return s3_store


@pytest.fixture
def s3_proxy(s3_settings: S3) -> Iterator[S3Proxy]:
    """SeaweedFS behind a proxy that records the requests and breaks things on request."""
    with serving(s3_settings) as proxy:
        yield proxy


def sdk_client(s3: S3) -> Minio:
    """The bare SDK, for what the product's store does not offer (versions, buckets)."""
    secret = s3.secret_key.get_secret_value()
    return Minio(s3.endpoint, access_key=s3.access_key, secret_key=secret, secure=s3.secure, region=s3.region)


def unavailable(reason: str) -> NoReturn:
    """Skip the test for want of something on a laptop; fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need_wheel(wheel: str) -> None:
    """A wheel without which the test cannot run."""
    try:
        importlib.metadata.version(wheel)
    except importlib.metadata.PackageNotFoundError:
        unavailable(f'needs {wheel}: pip install "reelmill[local]"')
