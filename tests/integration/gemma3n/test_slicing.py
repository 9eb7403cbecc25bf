"""A size as a checkpoint of its own: the same numbers as the view, whole or not there at all."""

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor
from typer.testing import CliRunner

from pipeline.cli import model as model_commands
from pipeline.engines.gemma3n import sliced_tensors
from pipeline.engines.gemma3n.slicing import choose, slice_checkpoint
from pipeline.engines.gemma3n.variants import Layers, Variant
from pipeline.engines.gemma3n.views import view
from pipeline.errors import UsageError, WorldError
from tests.integration.gemma3n.mixed import load
from tests.integration.gemma3n.size_checks import (
    TOLERANCE,
    difference,
    greedy_tokens,
    logits,
    mixed_batch,
    random_size,
)
from tests.tiny.sharded import shard

LAYERS = "model.language_model.layers"
HALF = Variant(name="half", widths=(64,) * 7, skipped=frozenset({1}))


@pytest.fixture(scope="module")
def loaded(random_checkpoint: Path) -> tuple[Any, dict[str, Any]]:
    model, processor = load(random_checkpoint)
    return model, mixed_batch(processor)


@pytest.mark.parametrize("seed", range(5))
def test_a_slice_has_the_logits_and_tokens_of_the_view(
    random_checkpoint: Path, loaded: tuple[Any, dict[str, Any]], tmp_path: Path, seed: int
) -> None:
    parent, batch = loaded
    size = random_size(Layers.of(parent.config), seed)
    written = slice_checkpoint(random_checkpoint, tmp_path / "slice", size)
    sliced, small = load(written.path)[0], view(parent, size)
    assert written.num_parameters == sliced.num_parameters()
    assert sliced.config.text_config.to_dict() == small.config.text_config.to_dict()
    assert difference(logits(sliced, batch), logits(small, batch)) <= TOLERANCE
    assert greedy_tokens(sliced, batch) == greedy_tokens(small, batch)


def test_a_checkpoint_in_several_files_gives_the_same_slice(random_checkpoint: Path, tmp_path: Path) -> None:
    slice_checkpoint(random_checkpoint, tmp_path / "one", HALF)
    slice_checkpoint(shard(random_checkpoint, tmp_path / "sharded", 3), tmp_path / "three", HALF)
    expected = load_file(tmp_path / "one" / "model.safetensors")
    index = json.loads((tmp_path / "three" / "model.safetensors.index.json").read_text())
    files = {file: load_file(tmp_path / "three" / file) for file in set(index["weight_map"].values())}
    assert len(files) == 3
    found = {name: files[file][name] for name, file in index["weight_map"].items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in expected.values())


def test_bfloat16_is_cut_in_small_blocks_without_changing_a_bit(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "bfloat16"
    shutil.copytree(random_checkpoint, source)
    whole = {name: tensor.bfloat16() for name, tensor in load_file(random_checkpoint / "model.safetensors").items()}
    whole["model.scalar"] = torch.tensor(2.5)  # no axis to cut along, and another type
    save_file(whole, source / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(sliced_tensors, "BLOCK_BYTES", 300)  # a few rows
    slice_checkpoint(source, tmp_path / "slice", HALF)
    cut = load_file(tmp_path / "slice" / "model.safetensors")
    assert torch.equal(cut["model.scalar"], whole["model.scalar"])
    assert torch.equal(cut[f"{LAYERS}.1.mlp.up_proj.weight"], whole[f"{LAYERS}.2.mlp.up_proj.weight"][:64])
    assert torch.equal(cut[f"{LAYERS}.5.mlp.down_proj.weight"], whole[f"{LAYERS}.6.mlp.down_proj.weight"][:, :64])
    name = "model.language_model.per_layer_model_projection.weight"
    assert torch.equal(cut[name], torch.cat([whole[name][:16], whole[name][32:]]))
    name = "model.language_model.embed_tokens_per_layer.weight"
    assert torch.equal(cut[name], torch.cat([whole[name][:, :16], whole[name][:, 32:]], dim=1))
    assert torch.equal(cut["model.embed_vision.embedding.weight"], whole["model.embed_vision.embedding.weight"])


def test_a_slice_is_a_checkpoint_like_any_other(random_checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(random_checkpoint, source)
    (source / "variants.json").write_text(json.dumps({"half": {"ffn": [64] * 7, "skip": [1]}}))
    (source / "LICENSE").write_text("terms")
    once = slice_checkpoint(source, tmp_path / "once", choose(source, "half")).path
    assert (once / "LICENSE").read_text() == "terms"
    assert not (once / "variants.json").exists(), "its tables are for the layers of the source"
    AutoProcessor.from_pretrained(once)
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"quarter": {"ffn": [32] * 6, "skip": [0]}}))
    twice = slice_checkpoint(once, tmp_path / "twice", choose(once, "quarter", own))
    assert twice.num_layers == 5
    assert load(twice.path)[0].config.text_config.intermediate_size == [32] * 5


def test_a_disk_that_refuses_leaves_nothing_behind(random_checkpoint: Path, tmp_path: Path) -> None:
    with files_of_at_most(200_000), pytest.raises(WorldError, match="could not be sliced"):
        slice_checkpoint(random_checkpoint, tmp_path / "slice", HALF)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_left_alone(random_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "slice").mkdir()
    with pytest.raises(WorldError, match="there already"):
        slice_checkpoint(random_checkpoint, tmp_path / "slice", HALF)
    assert [path.name for path in tmp_path.rglob("*")] == ["slice"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "gemma3"}, "not a whole Gemma 3n but 'gemma3'"),
        ({"text_config": None}, "not a whole Gemma 3n"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantized"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    random_checkpoint: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(random_checkpoint, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(WorldError, match=reason):
        slice_checkpoint(source, tmp_path / "slice", HALF)
    assert not (tmp_path / "slice").exists()


def test_weights_under_other_names_are_refused(random_checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(random_checkpoint, source)
    tensors = load_file(random_checkpoint / "model.safetensors")
    renamed = {name.replace(".up_proj.", ".w3."): tensor for name, tensor in tensors.items()}
    save_file(renamed, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WorldError, match=r"no language_model\.layers\.0\.mlp\.up_proj\.weight"):
        slice_checkpoint(source, tmp_path / "slice", HALF)
    (source / "model.safetensors").unlink()
    with pytest.raises(WorldError, match="not in safetensors format"):
        slice_checkpoint(source, tmp_path / "slice", HALF)
    with pytest.raises(WorldError, match="not a checkpoint directory"):
        slice_checkpoint(tmp_path, tmp_path / "slice", HALF)


def test_the_command_slices_and_tells_what_it_wrote(random_checkpoint: Path, tmp_path: Path) -> None:
    app, target, own = typer.Typer(), tmp_path / "slice", tmp_path / "sizes.json"
    model_commands.add_to(app)
    own.write_text(json.dumps({"half": {"ffn": [64] * 7, "skip": [1]}}))
    command = ["model", "slice", str(random_checkpoint), str(target), "--sizes", str(own)]
    unknown = CliRunner().invoke(app, [*command, "--variant", "e2b"])
    assert isinstance(unknown.exception, UsageError)
    assert "it has whole, half" in str(unknown.exception)
    done = CliRunner().invoke(app, [*command, "--variant", "half", "--json"])
    told = json.loads(done.stdout)
    size = sum(tensor.nbytes for tensor in load_file(target / "model.safetensors").values())
    assert told == {"model": str(target), "variant": "half", "layers": 6, "parameters": size // 4, "bytes": size}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the kernel refuse to write files beyond a size, as it does when the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
