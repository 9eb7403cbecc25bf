"""LoRA adapters: merged into the weights, named in the provenance, safetensors only."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Gemma3nForConditionalGeneration

from pipeline.engines.gemma3n.checkpoint import locate
from pipeline.engines.gemma3n.loading import ADAPTER_WEIGHTS, load
from pipeline.errors import WorldError
from tests.integration.gemma3n.test_engine import settings


@pytest.fixture(scope="module")
def adapter(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on the attention of the language model that changes what it says."""
    model = Gemma3nForConditionalGeneration.from_pretrained(random_checkpoint)
    config = LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|o_proj)", init_lora_weights=False)
    torch.manual_seed(1)
    adapted = get_peft_model(model, config)
    path = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(path)
    return path


def logits(model: Gemma3nForConditionalGeneration) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=torch.arange(20, 60)[None]).logits
    return found


def test_an_adapter_gives_what_peft_gives(random_checkpoint: Path, adapter: Path) -> None:
    from peft import PeftModel

    plain, _ = load(locate(settings(random_checkpoint)), settings(random_checkpoint))
    with_adapter = settings(random_checkpoint, adapter=str(adapter))
    merged, origin = load(locate(with_adapter), with_adapter)
    whole = Gemma3nForConditionalGeneration.from_pretrained(random_checkpoint).eval()
    peft = PeftModel.from_pretrained(whole, str(adapter)).eval()
    assert torch.allclose(logits(merged.model), logits(peft), atol=1e-4)
    assert not torch.allclose(logits(merged.model), logits(plain.model), atol=1e-2)
    assert origin.adapter is not None
    assert origin.adapter.startswith(f"{adapter}@")


def test_an_adapter_in_another_format_is_refused(random_checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    (tmp_path / "adapter_model.bin").write_bytes(b"pickled")
    given = settings(random_checkpoint, adapter=str(tmp_path))
    with pytest.raises(WorldError, match="can hold code"):
        load(locate(given), given)


def test_an_adapter_of_another_model_is_refused(random_checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        (adapter / "adapter_config.json").read_text().replace("q_proj|o_proj", "no_such_layer")
    )
    (tmp_path / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    given = settings(random_checkpoint, adapter=str(tmp_path))
    with pytest.raises(WorldError, match="does not fit the model"):
        load(locate(given), given)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # it only warns, and nobody reads warnings
def test_weights_that_find_no_place_are_not_passed_over(random_checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    tensors = {
        name.replace("layers.0", "layers.9"): tensor for name, tensor in load_file(adapter / ADAPTER_WEIGHTS).items()
    }
    save_file(tensors, tmp_path / ADAPTER_WEIGHTS)
    given = settings(random_checkpoint, adapter=str(tmp_path))
    with pytest.raises(WorldError, match="made for another model: 4 of its tensors have no place"):
        load(locate(given), given)
