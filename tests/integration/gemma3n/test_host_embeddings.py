"""Per-layer embeddings out of the checkpoint's file: the same numbers, fewer rows, no memory of one's own."""

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3nForConditionalGeneration

from pipeline.engines.gemma3n.host_embeddings import HostEmbeddings, keep_on_host, mapped_table
from pipeline.engines.gemma3n.variants import Layers
from pipeline.engines.gemma3n.views import view
from pipeline.errors import WorldError
from tests.integration.gemma3n.mixed import load
from tests.integration.gemma3n.size_checks import extra_bytes, greedy_tokens, logits, mixed_batch, random_size
from tests.tiny.sharded import shard

TABLE = "model.language_model.embed_tokens_per_layer.weight"
BIG_ROWS = 300_000  # 134 MB of float32


@pytest.fixture
def plain(random_checkpoint: Path) -> Any:
    return load(random_checkpoint)[0]


@pytest.fixture(scope="module")
def batch(random_checkpoint: Path) -> dict[str, Any]:
    return mixed_batch(load(random_checkpoint)[1])


@pytest.mark.parametrize("files", [1, 3])
def test_logits_and_tokens_are_the_same_bit_for_bit(
    random_checkpoint: Path, plain: Any, batch: dict[str, Any], files: int, tmp_path: Path
) -> None:
    expected, tokens = logits(plain, batch), greedy_tokens(plain, batch)
    checkpoint = random_checkpoint if files == 1 else shard(random_checkpoint, tmp_path / "sharded", files)
    embeddings = keep_on_host(plain, checkpoint)
    assert torch.equal(logits(plain, batch), expected)
    assert greedy_tokens(plain, batch) == tokens
    assert embeddings.rows_fetched > 0
    assert not [name for name, _ in plain.named_parameters() if "embed_tokens_per_layer" in name]


def test_each_row_of_a_step_is_fetched_once(random_checkpoint: Path, plain: Any) -> None:
    text = plain.model.language_model
    beyond = text.config.vocab_size_per_layer_input  # ids of soft tokens are not in the table; they all take row 0
    ids = torch.tensor([[5, 9, 9, 5], [beyond, beyond + 70, 0, 9]])
    expected = text.get_per_layer_inputs(ids)
    embeddings = keep_on_host(plain, random_checkpoint)
    assert torch.equal(text.get_per_layer_inputs(ids), expected)
    assert embeddings.rows_fetched == 3


def test_views_of_a_model_with_host_embeddings_are_the_same(
    random_checkpoint: Path, plain: Any, batch: dict[str, Any]
) -> None:
    size = random_size(Layers.of(plain.config), seed=1)
    expected = logits(view(plain, size), batch)
    embeddings = keep_on_host(plain, random_checkpoint)
    small = view(plain, size)
    assert small.model.language_model.embed_tokens_per_layer.on_host
    assert torch.equal(logits(small, batch), expected)
    assert embeddings.rows_fetched > 0
    assert extra_bytes(small, plain) == 0


def test_the_rows_follow_the_model_to_its_precision(random_checkpoint: Path, plain: Any) -> None:
    ids = torch.arange(40).reshape(2, 20)
    plain.model.language_model.embed_tokens_per_layer.embed_scale.fill_(3.3)  # rounds, in either precision
    embeddings = HostEmbeddings(mapped_table(random_checkpoint), plain.model.language_model.embed_tokens_per_layer)
    expected = plain.to(torch.bfloat16).model.language_model.embed_tokens_per_layer(ids)
    assert torch.equal(embeddings.to(torch.bfloat16)(ids), expected)
    assert expected.dtype == torch.bfloat16
    assert embeddings.table.dtype == torch.float32, "the mapped table is never cast"


def test_the_table_takes_no_memory_of_the_process(random_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = with_a_table_of(BIG_ROWS, random_checkpoint, tmp_path / "big")
    before = anonymous_bytes()
    model = Gemma3nForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    with_copy = anonymous_bytes() - before
    embeddings = keep_on_host(model, checkpoint)
    gc.collect()
    ids = torch.arange(0, BIG_ROWS, 8).unsqueeze(0)
    for part in ids.split(1_000, dim=1):
        embeddings(part)
    on_host = anonymous_bytes() - before
    table = embeddings.table.nbytes
    assert with_copy > table / 3, "loaded as usual, the bfloat16 copy of the table is the process's own"
    assert on_host < table / 10
    mapped = mapping(checkpoint / "model.safetensors")
    assert mapped["Rss"] > table / 2, "its pages are the file's,"
    assert mapped["Anonymous"] + mapped["Private_Dirty"] == 0, "so that all processes share them"


def test_a_checkpoint_without_that_table_is_refused(random_checkpoint: Path, plain: Any, tmp_path: Path) -> None:
    other = with_a_table_of(20, random_checkpoint, tmp_path / "other")
    with pytest.raises(WorldError, match=r"are \(20, 112\), the model's \("):
        keep_on_host(plain, other)
    save_file({"something": torch.zeros(1)}, other / "model.safetensors")
    with pytest.raises(WorldError, match="no per-layer embeddings"):
        keep_on_host(plain, other)
    (other / "model.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(WorldError, match="cannot be read as safetensors"):
        keep_on_host(plain, other)
    with pytest.raises(WorldError, match="there is no"):
        keep_on_host(plain, tmp_path)


def with_a_table_of(rows: int, checkpoint: Path, target: Path) -> Path:
    """A copy of the checkpoint whose table of per-layer embeddings has so many rows."""
    shutil.copytree(checkpoint, target)
    tensors = load_file(checkpoint / "model.safetensors")
    tensors[TABLE] = torch.zeros(rows, tensors[TABLE].shape[1])
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    config["text_config"]["vocab_size_per_layer_input"] = rows
    (target / "config.json").write_text(json.dumps(config))
    return target


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def mapping(file: Path) -> dict[str, int]:
    """Bytes of this process's mappings of a file, by the kernel's names."""
    total = {"Rss": 0, "Anonymous": 0, "Private_Dirty": 0}
    is_its = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if "-" in name.split()[0]:  # the first line of a mapping: addresses, then the file's path
            is_its = line.endswith(str(file))
        elif is_its and name in total:
            total[name] += int(rest.split()[0]) * 1024
    return total
