"""The engine behind its contract: loading, a mixed load through Serving, sizes, and requests that go wrong alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.engines import Image, Reply, Request, Sound, Turn, create
from pipeline.engines.gemma3n import Gemma3nEngine, StaticGemma3nEngine
from pipeline.errors import PermanentError, ResourceError, WorldError
from pipeline.serving import Serving
from pipeline.settings import Engine
from tests.integration.gemma3n.test_inputs import jpeg, noise


def settings(model: Path | str, **more: Any) -> Engine:
    return Engine.model_validate(
        {"name": "gemma3n", "model": str(model), "context_tokens": 1024, "max_batch": 4, "threads": 1, **more}
    )


@pytest.fixture(scope="module")
def engine(random_checkpoint: Path) -> Iterator[Gemma3nEngine]:
    (random_checkpoint / "variants.json").write_text(json.dumps({"half": {"ffn": [64] * 7}}))
    made = create(settings(random_checkpoint))
    assert isinstance(made, Gemma3nEngine)
    made.load()
    yield made
    made.close()


@pytest.fixture
def serving(engine: Gemma3nEngine) -> Iterator[Serving]:
    """A Serving on the loaded engine, which it must not close."""
    running = Serving(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load", lambda: None)
        patch.setattr(engine, "close", lambda: None)
        running.start()
        yield running
        running.stop()


def a_request(name: str, kind: str, **more: Any) -> Request:
    clip = Sound(noise(0.4 + int(name) % 5, seed=int(name)))
    picture = Image(jpeg((int(name) * 9 % 255, 90, 30)))
    parts = {
        "sound": (clip, "Transcribe the speech."),
        "picture": (picture, "Describe the picture."),
        "frames": (picture, picture, "Describe the pictures, in order."),
        "scene": (picture, clip, "What is seen, and what is said?"),
        "text": ("Summarise this text.\n\n" + "so it goes " * (int(name) % 7),),
    }[kind]
    turns = (Turn("system", ("Answer.",)), Turn("user", parts))
    return Request(id=name, turns=turns, max_tokens=4 + int(name) % 9, **more)


KINDS = ("sound", "picture", "frames", "scene", "text")


def test_a_mixed_load_gives_what_the_plain_batches_give(
    random_checkpoint: Path, engine: Gemma3nEngine, serving: Serving
) -> None:
    requests = [
        a_request(str(number), KINDS[number % 5], variant=("half", None)[number % 3 > 0]) for number in range(20)
    ]
    replies = [future.result() for future in [serving.submit(request) for request in requests]]
    plain = create(settings(random_checkpoint, batching="static"))
    assert isinstance(plain, StaticGemma3nEngine)
    plain.load()
    assert replies == list(plain.generate([plain.prepare(request) for request in requests]))
    assert {reply.variant for reply in replies} == {"whole", "half"}
    assert len({reply.text for reply in replies}) > 10, "random weights still answer different requests differently"


def test_an_unknown_size_is_refused_by_name(serving: Serving) -> None:
    with pytest.raises(PermanentError, match=r"no size 'e9b'.*whole, half"):
        serving.submit(a_request("1", "text", variant="e9b")).result()


def test_sizes_may_come_from_a_file_of_ones_own(random_checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "sizes.json"
    file.write_text(json.dumps({"slim": {"ffn": [48] * 7}, "wide": {"ffn": [4096] * 7}}))
    made = create(settings(random_checkpoint, sizes=file))
    assert isinstance(made, Gemma3nEngine)
    with pytest.raises(WorldError, match="'wide' does not fit the model: layer 0 cannot be 4096 wide"):
        made.load()
    file.write_text(json.dumps({"slim": {"ffn": [48] * 7}}))
    made.load()
    assert made.run.sizes.names == ("whole", "slim")
    replies: dict[str, Any] = {}
    made.admit([made.prepare(a_request("1", "text", variant="slim"))])
    while "1" not in replies:
        replies |= made.step()
    assert replies["1"].variant == "slim"


def test_auto_uses_a_smaller_size_while_much_waits(engine: Gemma3nEngine) -> None:
    engine.run._rates.observe("whole", cost=100.0, seconds=1.0)
    engine.look_ahead([engine.prepare(a_request("1", "text", variant="auto"))], elsewhere=10**6)
    replies = {}
    engine.admit([engine.prepare(a_request("2", "text", variant="auto"))])
    while "2" not in replies:
        replies |= engine.step()
    assert replies["2"].variant == "half"
    engine.look_ahead([engine.prepare(a_request("1", "text", variant="auto"))], elsewhere=0)
    engine.admit([engine.prepare(a_request("3", "text", variant="auto"))])
    while "3" not in replies:
        replies |= engine.step()
    assert replies["3"].variant == "whole", "it clears, so the largest size is back"


def test_an_answer_that_was_stopped_is_marked(engine: Gemma3nEngine, serving: Serving) -> None:
    full, ended = ("cut_short",), ()
    replies = [serving.submit(a_request(str(number), "text")).result() for number in range(8)]
    assert {reply.flags for reply in replies} <= {full, ended}
    stop = engine.run._inputs._stop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.run._inputs, "_stop", stop | set(range(768)))
        assert serving.submit(a_request("4", "text")).result().flags == ended, "its first token ends it"
        patch.setattr(engine.run._inputs, "_stop", frozenset())
        assert serving.submit(a_request("4", "text")).result().flags == full


def test_bad_requests_end_alone_and_their_batch_mates_are_answered(serving: Serving) -> None:
    unsound = Sound(np.full(16_000, np.nan, np.float32))
    broken = Request(id="bad", turns=(Turn("user", (unsound, "Transcribe.")),), max_tokens=4)
    futures = [serving.submit(request) for request in (a_request("5", "sound"), broken, a_request("6", "picture"))]
    with pytest.raises(PermanentError, match="not numbers"):
        futures[1].result()
    assert all(isinstance(futures[index].result(), Reply) for index in (0, 2))


def test_numbers_that_overflow_on_one_request_fail_it_alone(engine: Gemma3nEngine, serving: Serving) -> None:
    good, spoilt = a_request("7", "picture"), a_request("8", "picture")
    expected = serving.submit(good).result()
    threshold = float(engine.prepare(spoilt).inputs.pixels.sum())
    original = engine.run.model.model.get_image_features

    def overflowing(pixels: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        found = original(pixels, *arguments, **named)
        for features, picture in zip(found.pooler_output, pixels, strict=True):
            if abs(float(picture.sum()) - threshold) < 1e-3:
                features.fill_(float("nan"))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.run.model.model, "get_image_features", overflowing)
        futures = [serving.submit(spoilt), serving.submit(good)]
        with pytest.raises(PermanentError, match="overflow"):
            futures[0].result()
        assert futures[1].result() == expected
    assert serving.submit(spoilt).result().spans, "the slot it was in is clean again"


def test_running_out_of_memory_ends_the_request_that_needs_too_much(engine: Gemma3nEngine, serving: Serving) -> None:
    original = engine.run.model.model.get_image_features

    def limited(pixels: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(pixels, *arguments, **named)

    picture = Image(jpeg())
    large = Request(id="large", turns=(Turn("user", (picture, picture, picture, "Describe.")),), max_tokens=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.run.model.model, "get_image_features", limited)
        futures = [serving.submit(request) for request in (large, *(a_request(str(n), "picture") for n in (9, 10, 11)))]
        with pytest.raises(ResourceError, match="memory"):
            futures[0].result()
        assert all(isinstance(future.result(), Reply) for future in futures[1:])


def test_facts_are_known_without_torch(random_checkpoint: Path) -> None:
    code = (
        "import sys; from pipeline.engines import create; from pipeline.settings import Engine;"
        f"limits = create(Engine(name='gemma3n', model={str(random_checkpoint)!r})).capabilities.limits;"
        "assert (limits.clip_seconds, limits.image_pixels) == (30, 64), limits;"
        "limits = create(Engine(name='gemma3n')).capabilities.limits;"
        "assert (limits.clip_seconds, limits.image_pixels) == (30, 768), limits;"
        "print(sorted({'torch', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_directory_without_safetensors_is_refused(random_checkpoint: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(random_checkpoint, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(WorldError, match="can hold code"):
        create(settings(pickled)).load()


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(WorldError, match=r"no Gemma 3n checkpoint.*Llama"):
        create(settings(tmp_path))


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="there is no directory"):
        create(settings(tmp_path / "nowhere")).load()


def test_a_model_that_the_hub_does_not_give_leads_to_three_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        WorldError, match=r"licence: \(1\) accept it at .*google/gemma-3n-E4B-it; \(2\).*HF_TOKEN.*\(3\)"
    ):
        create(Engine(name="gemma3n")).load()


def test_a_gpu_that_is_not_there_is_told(random_checkpoint: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(WorldError, match="torch sees no GPU"):
        create(settings(random_checkpoint, device="cuda")).load()


def test_it_says_how_it_runs(engine: Gemma3nEngine) -> None:
    assert "float32 on cpu" in engine.remarks[0]
    assert "GiB" in engine.remarks[0]
    assert "half" in engine.remarks[0]
    assert torch.cuda.is_available() or engine.remarks[1].startswith("WITHOUT A GPU")
