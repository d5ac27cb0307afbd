"""The planner's count of parameters beside transformers' own, for every architecture whose config.json it reads."""

import json

import pytest
import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from wayra.plan.configs.defaults import TEXT_DEFAULTS
from wayra.plan.memory import Request, kv_bytes
from wayra.plan.reading import from_config

TEXT = [
    "arcee", "bamba", "bloom", "codegen", "cohere", "cohere2", "cohere2_moe", "deepseek_v3", "deepseek_v32", "ernie4_5",
    "ernie4_5_moe", "exaone4", "exaone_moe", "falcon", "falcon_h1", "falcon_mamba", "flex_olmo", "gemma", "gemma2",
    "gemma3_text", "gemma3n_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt2", "gpt_bigcode",
    "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite", "granitemoe", "granitemoehybrid", "granitemoeshared", "helium",
    "hy_v3", "internlm3", "jais2", "jamba", "kimi_linear", "lfm2", "llama", "llama4_text", "mamba", "mamba2", "mellum",
    "minicpm3", "minimax", "minimax_m2", "minimax_m3_vl_text", "ministral3", "mistral", "mixtral", "mpt", "nanochat",
    "nemotron_h", "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe",
    "qwen3", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next", "seed_oss", "smollm3", "stablelm",
    "starcoder2", "youtu",
]  # fmt: skip
SEEING = [
    "Gemma3", "Idefics3", "InternVL", "Llama4", "Llava", "LlavaNext", "Mistral3", "PaliGemma", "Qwen2VL", "Qwen2_5_VL",
    "Qwen3VL", "Qwen3VLMoe", "Qwen3_5", "Qwen3_5Moe", "SmolVLM", "VipLlava",
]  # fmt: skip
# Families that the table does not have; keys alone say how large they are. What they leave out is small: norms of
# heads, sinks, second norms.
UNKNOWN = {"cwm": 0.0, "diffllama": 1e-5, "laguna": 2e-4, "solar_open": 0.0, "bitnet": 2e-4, "granite_swa": 1e-6}


def counted(made: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in made.parameters())


def written(config: transformers.PreTrainedConfig, name: str) -> dict[str, object]:
    """As a config.json has it."""
    return {**json.loads(json.dumps(config.to_dict(), default=str)), "architectures": [name]}


def text_model(kind: str) -> tuple[int, dict[str, object]]:
    config, name = CONFIG_MAPPING[kind](), MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    with torch.device("meta"):
        made = getattr(transformers, name)(config)
    return counted(made), written(config, name)


@pytest.mark.parametrize("kind", TEXT)
def test_parameters_are_those_of_the_model_that_the_config_makes(kind: str) -> None:
    expected, config = text_model(kind)
    found = from_config(config, name="x", source="config.json")
    assert "does not know" not in found.note
    assert found.parameters == expected
    assert kv_bytes(found, Request(1, 1)).value > 0


@pytest.mark.parametrize(("kind", "off"), UNKNOWN.items())
def test_unknown_families_are_sized_by_their_keys(kind: str, off: float) -> None:
    expected, config = text_model(kind)
    found = from_config(config, name="x", source="config.json")
    assert "does not know" in found.note
    assert found.parameters == pytest.approx(expected, rel=off, abs=0)


@pytest.mark.parametrize("name", SEEING)
def test_models_that_see_are_text_and_encoder(name: str) -> None:
    config = getattr(transformers, f"{name}Config")()
    with torch.device("meta"):
        made = getattr(transformers, f"{name}ForConditionalGeneration")(config)
    found = from_config(written(config, f"{name}ForConditionalGeneration"), name="x", source="config.json")
    assert found.image_parameters > 0
    assert found.parameters == counted(made)


@pytest.mark.parametrize("more", [{}, {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2}])
def test_heads_of_two_sizes_and_inputs_of_each_layer_are_counted(more: dict[str, object]) -> None:
    own: dict[str, object] = {"num_kv_shared_layers": 10, "use_double_wide_mlp": True, "attention_k_eq_v": True}
    heads: dict[str, object] = {"global_head_dim": 512, "num_global_key_value_heads": 2}
    if more:
        own = {"attention_k_eq_v": True, "moe_intermediate_size": 256, "hidden_size_per_layer_input": 0}
    config = transformers.Gemma4TextConfig(**own, **more, **heads)
    with torch.device("meta"):
        made = transformers.Gemma4ForCausalLM(config)
    # The heads of layers without a window are kept elsewhere by newer versions; files have them by these names.
    found = from_config({**written(config, "Gemma4ForCausalLM"), **heads}, name="x", source="config.json")
    assert found.parameters == counted(made)


@pytest.mark.parametrize("kind", TEXT_DEFAULTS)
def test_what_a_text_part_leaves_out_is_what_transformers_takes(kind: str) -> None:
    made = CONFIG_MAPPING[kind]().to_dict()
    # Gemma 4 moves the heads of layers without a window to what it keeps of each layer.
    expected = {name: value for name, value in TEXT_DEFAULTS[kind].items() if name != "global_head_dim"}
    assert {name: made[name] for name in expected} == expected


def test_parameters_of_a_model_that_sees_are_exact_but_for_its_gates() -> None:
    config = transformers.MllamaConfig(vision_config={"image_size": 560})
    with torch.device("meta"):
        made = transformers.MllamaForConditionalGeneration(config)
    found = from_config(written(config, "MllamaForConditionalGeneration"), name="x", source="config.json")
    assert found.parameters == pytest.approx(counted(made), rel=1e-5)


def test_the_cache_of_a_hybrid_is_what_transformers_fills() -> None:
    """A tiny one of states and attention, run over tokens: its cache has as many values as the description."""
    config = transformers.Qwen3NextConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=100,
        intermediate_size=128, moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=8,
        num_experts_per_tok=2, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16,
        linear_value_head_dim=16, max_position_embeddings=128,
    )  # fmt: skip
    made = transformers.Qwen3NextForCausalLM(config).eval()
    found = from_config(written(config, "Qwen3NextForCausalLM"), name="x", source="config.json")
    assert found.parameters == counted(made)
    with torch.no_grad():
        cache = made(torch.arange(1, 11)[None], use_cache=True).past_key_values
    grown = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers if hasattr(layer, "keys"))
    assert found.kept_bytes(10, 16) - found.state_bytes == 2 * grown
    states = [layer.recurrent_states for layer in cache.layers if getattr(layer, "recurrent_states", None)]
    carried = sum(state.numel() for layer in states for state in layer.values())
    # In 32 bits, beside a convolution of 3 tokens in 16.
    assert found.state_bytes == 4 * carried + 3 * (3 * (2 * 2 * 16 + 4 * 16)) * 2
