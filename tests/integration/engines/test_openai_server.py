"""The engine against a real server, `transformers serve`: its answers are those of the model alone."""

import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.engines import Image, Reply, Request, Sound, Turn, create
from pipeline.engines.openai.chat import wav
from pipeline.errors import ResourceError, WorldError
from pipeline.serving import Serving
from pipeline.settings import Engine
from tests.conftest import unavailable

START_SECONDS = 60


@pytest.fixture(scope="module")
def url(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` of the checkpoint, offline, in float32."""
    try:
        import fastapi
        import openai
        import uvicorn
    except ImportError as error:
        unavailable(f"needs {error.name}, a part of transformers[serving]")
    del fastapi, openai, uvicorn
    directory = tmp_path_factory.mktemp("serve")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = Path(sys.executable).with_name("transformers")
    command = [program, "serve", random_checkpoint, "--host", "127.0.0.1", "--port", port]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(directory), "OMP_NUM_THREADS": "1"}
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--device", "cpu", "--dtype", "float32"], env=environment, stdout=log, stderr=log
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health", server, directory / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


def wait_until_healthy(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def serving(url: str, random_checkpoint: Path) -> Iterator[Serving]:
    running = Serving(create(Engine(name="openai", url=url, model=str(random_checkpoint))))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def alone(random_checkpoint: Path) -> Any:
    """The model without any server: `alone(request)` is its greedy answer."""
    import librosa
    import torch
    from PIL import Image as Picture
    from transformers import AutoProcessor, Gemma3nForConditionalGeneration

    processor = AutoProcessor.from_pretrained(random_checkpoint)
    model = Gemma3nForConditionalGeneration.from_pretrained(random_checkpoint, dtype=torch.float32).eval()

    def part(given: str | Sound | Image) -> dict[str, Any]:
        if isinstance(given, Sound):
            return {"type": "audio", "audio": librosa.load(io.BytesIO(wav(given.clip)), sr=16_000)[0]}
        if isinstance(given, Image):
            return {"type": "image", "image": Picture.open(io.BytesIO(given.data))}
        return {"type": "text", "text": given}

    def answer(request: Request) -> str:
        roles = {"system": "system", "user": "user", "model": "assistant"}
        chat = [{"role": roles[turn.role], "content": [part(given) for given in turn.parts]} for turn in request.turns]
        inputs = processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=request.max_tokens, do_sample=False)
        text: str = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return text.strip()

    return answer


def clip(seconds: float, seed: int) -> Sound:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * 16_000)) * 0.1
    return Sound((np.round(noise * 32768) / 32768).astype(np.float32))


def picture(seed: int) -> Image:
    from PIL import Image as Picture

    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Picture.fromarray(pixels).resize((640, 480)).save(file, "JPEG", quality=90)
    return Image(file.getvalue())


def asking(name: str, *parts: str | Sound | Image) -> Request:
    turns = (Turn("system", ("Answer from what is given.",)), Turn("user", parts))
    return Request(id=name, turns=turns, max_tokens=12)


def requests() -> list[Request]:
    text = asking("text", "Summarise this text. It was the best of times, it was the worst of times.")
    again = (*text.turns, Turn("model", ("It was.",)), Turn("user", ("Shorter, please.",)))
    return [
        text,
        Request(id="again", turns=again, max_tokens=12),
        asking("sound", clip(3.3, 1), "Transcribe the speech."),
        asking("other sound", clip(1.7, 2), "Transcribe the speech."),
        asking("picture", picture(3), "Describe the picture."),
        asking("frames", picture(3), picture(4), "Describe the pictures, in order."),
        asking("frames reversed", picture(4), picture(3), "Describe the pictures, in order."),
        asking("scene", picture(3), clip(3.3, 1), "What is seen, and what is said?"),
    ]


def test_every_kind_of_request_gets_the_answer_of_the_model_alone(serving: Serving, alone: Any) -> None:
    asked = requests()
    replies = [future.result() for future in [serving.submit(request) for request in asked]]
    assert {request.id: reply.text for request, reply in zip(asked, replies, strict=True)} == {
        request.id: alone(request) for request in asked
    }
    assert all(reply.text for reply in replies)
    assert len({reply.text for reply in replies}) == len(replies), "each part of a prompt makes a difference"
    assert {reply.flags for reply in replies} == {("cut_short",)}, "random weights do not know when to stop"


def test_the_origin_is_the_model_that_is_served_though_the_server_lists_nothing(
    serving: Serving, random_checkpoint: Path
) -> None:
    assert serving.origin is not None
    assert (serving.origin.engine, serving.origin.model) == ("openai", str(random_checkpoint))


def test_a_model_that_the_server_does_not_have_is_a_world_error(url: str) -> None:
    with pytest.raises(WorldError, match=r"for the model 'another/one'.*REELMILL_ENGINE__MODEL.*pinned"):
        create(Engine(name="openai", url=url, model="another/one")).load()


def test_a_picture_that_the_server_fails_on_counts_as_a_try_and_the_next_request_is_answered(serving: Serving) -> None:
    broken = Image(picture(3).data[:300])
    assert isinstance(serving.submit(asking("broken", broken, "Describe it.")).exception(), ResourceError)
    assert isinstance(serving.submit(asking("fine", "Hello.")).result(), Reply)
