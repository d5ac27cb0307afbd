"""Models the planner knows by name or reads from a config: those of the articles it checks, with their working."""

import json
from pathlib import Path

import pytest

from wayra.base.errors import FileFormatError, InvalidParameter, UnsupportedModel
from wayra.plan.catalogue import candidates
from wayra.plan.hardware import hardware
from wayra.plan.memory import Request, fit, kv_bytes, weights_bytes
from wayra.plan.models import architecture
from wayra.plan.reading import describe, from_config
from wayra.plan.stored import stored_as

VISION_11B = {
    "architectures": ["MllamaForConditionalGeneration"],
    "text_config": {
        "num_hidden_layers": 40, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
        "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
    },
    "vision_config": {
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_global_layers": 8,
        "image_size": 560, "patch_size": 14, "max_num_tiles": 4, "vision_output_dim": 7680,
    },
}  # fmt: skip
GPT_J = {
    "architectures": ["GPTJForCausalLM"], "n_layer": 28, "n_embd": 4096, "n_head": 16, "n_inner": None,
    "n_positions": 2048, "vocab_size": 50400,
}  # fmt: skip
BARE = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("named", "billions"),
    [
        ("LLaMA 7B", 6.7),
        ("LLaMA 65B", 65.2),
        ("Llama 2 7B", 6.7),
        ("Llama 2 13B", 13.0),
        ("Llama 2 70B", 69.0),
        ("Llama 3 8B", 8.0),
        ("Llama 3 70B", 70.6),
        ("Llama 3.1 8B Instruct", 8.0),
        ("Llama 3.1 70B", 70.6),
        ("meta-llama/Llama-3.1-70B", 70.6),
        ("meta-llama/Llama-3.1-405B", 405.8),
        ("Llama 3.2 1B", 1.24),
        ("Llama 3.2 3B", 3.21),
        ("Llama 3.2 11B", 10.67),
        ("Llama 3.2 90B", 88.59),
        ("Llama 3.1 Guard", 8.0),
        ("Llama Guard", 8.0),
        ("Llama 4 405B", 405.9),
        ("Mistral 7B", 7.25),
        ("GPT-J", 6.05),
        ("deepseek-ai/DeepSeek-R1", 671.0),
        ("DeepSeek V3.2", 671.9),
        ("moonshotai/Kimi-K2-Instruct", 1026.4),
        ("Qwen3.5 27B", 27.4),
        ("Qwen/Qwen3.5-35B-A3B", 35.1),
        ("Nemotron 3 Nano", 31.6),
        ("google/gemma-3-27b-it", 27.4),
        ("gemma-4-26B-A4B", 25.8),
        ("Grok-1", 315.7),
        ("Grok-2", 269.5),
    ],
)
def test_every_open_model_of_the_articles_has_its_published_size(named: str, billions: float) -> None:
    assert architecture(named).parameters == pytest.approx(billions * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("named", "vendor"),
    [
        ("GPT-3", "OpenAI"),
        ("gpt-3.5-turbo", "OpenAI"),
        ("GPT-4", "OpenAI"),
        ("openai/gpt-4o", "OpenAI"),
        ("GPT-4.1 Mini", "OpenAI"),
        ("GPT-5", "OpenAI"),
        ("Claude 3.5 Sonnet", "Anthropic"),
        ("Gemini 1.5 Pro", "Google"),
        ("PaLM", "Google"),
        ("RT-2", "Google DeepMind"),
        ("AlphaProof", "Google DeepMind"),
        ("Grok-1.5V", "xAI"),
    ],
)
def test_every_closed_model_of_the_articles_is_said_to_be_closed(named: str, vendor: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"on hardware of one's own: {vendor} has not published its weights"):
        architecture(named)


@pytest.mark.parametrize("named", ["gpt-oss-20b", "grammar-7b", "palmyra-small", "gpt-neo"])
def test_a_name_that_only_begins_like_a_closed_models_is_merely_unknown(named: str) -> None:
    with pytest.raises(InvalidParameter, match="knows no model"):
        architecture(named)


def test_a_model_that_sees_is_its_text_and_an_encoder_in_16_bits() -> None:
    model = architecture("llama-3.2-11b-vision")
    # A layer as in Llama 3.1 8B, 218,103,808, of which there are 40; two tables of 525,336,576; norms 40 * 8192 + 4096.
    assert model.linear == 40 * 218_103_808
    # Encoder: 40 layers of 4 * 1280^2 + 2 * 1280 * 5120 + 5120 + 1280 + 4 * 1280 = 19,672,320, 2 gates for 8 of them;
    # patches 3 * 14 * 14 * 1280; class 1280; positions (1 + 9 * 4) * 1601 * 1280 + 1; before and after
    # 2 * (9 * 4 * 1280 + 1) and 2 * 2560 of norms. Projection: 7680 * 4096 + 4096.
    encoder = 40 * 19_672_320 + 16 + 752_640 + 1280 + 37 * 1601 * 1280 + 1 + 2 * (46_080 + 1) + 5120
    assert model.image_parameters == encoder + 7680 * 4096 + 4096 == 895_028_755
    bf16 = weights_bytes(model, stored_as("bf16")).value
    assert bf16 == 2 * (40 * 218_103_808 + 2 * 525_336_576 + 331_776 + 895_028_755)
    # Only the projections of the text become smaller.
    assert bf16 - weights_bytes(model, stored_as("fp8")).value == 40 * 218_103_808


def test_layers_that_attend_to_an_image_keep_the_image_and_not_the_text() -> None:
    model = architecture("llama-3.2-11b-vision")
    # 2 * 8 * 128 * 2 bytes a layer and token; 32 layers keep 1,000 tokens, 8 keep 4 tiles of 40 * 40 + 1 patches.
    assert kv_bytes(model, Request(3, 1000)).value == pytest.approx(3 * 4096 * (32 * 1000 + 8 * 4 * 1601), rel=1e-12)
    assert model.kept_bytes(1000, 16) == 4096 * (32 * 1000 + 8 * 6404)


def test_the_config_of_a_model_that_sees_gives_the_shipped_row(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(VISION_11B), "utf-8")
    read, shipped = describe(str(tmp_path)).model, architecture("llama-3.2-11b-vision")
    for field in ("parameters", "image_parameters", "image_layers", "image_tokens"):
        assert getattr(read, field) == getattr(shipped, field)
    assert read.kept_bytes(5000, 16) == shipped.kept_bytes(5000, 16)


def test_the_config_of_the_larger_one_gives_its_shipped_row() -> None:
    text = {
        **VISION_11B["text_config"],
        "num_hidden_layers": 100,
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_attention_heads": 64,
        "cross_attention_layers": list(range(3, 100, 5)),
    }
    read = from_config({**VISION_11B, "text_config": text}, name="x", source="config.json")
    assert read.parameters == architecture("llama-3.2-90b-vision").parameters
    assert read.image_layers == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_config": None}, "lacks vision_config"),
        ({"vision_config": {"image_size": 560}}, "lacks max_num_tiles"),
        ({"vision_config": {**VISION_11B["vision_config"], "patch_size": 0}}, "patch_size is 0"),
        ({"text_config": {**VISION_11B["text_config"], "cross_attention_layers": 8}}, "must be a list"),
    ],
)
def test_a_wrong_description_of_what_sees_is_one_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        from_config({**VISION_11B, **change}, name="x", source="config.json")


def test_gpt_j_has_two_matrices_a_feed_forward_layer_and_full_heads() -> None:
    read = from_config(GPT_J, name="gpt-j", source="config.json")
    # 28 * (4 * 4096^2 + 2 * 4096 * 16384) and two tables of 50400 * 4096.
    assert read.linear == 28 * (4 * 4096**2 + 2 * 4096 * 16384) == architecture("gpt-j").linear
    assert read.parameters == architecture("gpt-j").parameters
    assert kv_bytes(read, Request(1, 2048)).value == 2 * 28 * 4096 * 2 * 2048


def test_a_config_that_says_no_context_is_sized_and_says_so() -> None:
    read = from_config(BARE, name="x", source="config.json")
    known = from_config({**BARE, "max_position_embeddings": 8192}, name="x", source="config.json")
    request = Request(1, 100_000)
    without, within = (fit(model, stored_as("bf16"), hardware("h100"), request) for model in (read, known))
    assert without.total.value == within.total.value
    assert any("max_position_embeddings" in text for text in without.warnings)
    assert not any("go beyond it" in text for text in without.warnings)
    assert any("go beyond it" in text for text in within.warnings)


def test_what_a_config_leaves_out_of_the_count_is_noted() -> None:
    quantised = {**BARE, "quantization_config": {"quant_method": "fp8"}}
    assert "the checkpoint is quantised ('fp8')" in from_config(quantised, name="x", source="config.json").note


def test_a_model_to_plan_with_may_be_named_in_any_spelling() -> None:
    for name in ("llama3.1:8b", "Llama 3.1 8B", "meta-llama/Llama-3.1-8B-Instruct"):
        assert [row.id for row in candidates((name,))] == ["llama-3.1-8b"]
    assert [row.id for row in candidates(("GPT-4o",))] == ["gpt-4o"]
    # Of the table of shapes too, though nobody is known to sell them; not what does not exist.
    (found,) = candidates(("DeepSeek-R1",))
    assert (found.id, found.open_weights, found.sold, found.context_len) == ("deepseek-v3", True, (), 163_840)
    with pytest.raises(InvalidParameter, match="no model 'moe-405b' to plan with"):
        candidates(("moe-405b",))
    with pytest.raises(InvalidParameter, match=r"no model 'Claude 3\.5 Sonnet' to plan with"):
        candidates(("Claude 3.5 Sonnet",))
