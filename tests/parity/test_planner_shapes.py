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
    "arcee", "bamba", "bloom", "codegen", "cohere", "cohere2", "cohere2_moe", "deepseek_v3", "deepseek_v32",
    "deepseek_v4", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe", "falcon", "falcon_h1", "falcon_mamba",
    "flex_olmo", "gemma", "gemma2", "gemma3_text", "gemma3n_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite",
    "glm_moe_dsa", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite", "granitemoe",
    "granitemoehybrid", "granitemoeshared", "helium", "hy_v3", "internlm3", "jais2", "jamba", "kimi_linear", "lfm2",
    "llama", "llama4_text", "mamba", "mamba2", "mellum", "minicpm3", "minimax", "minimax_m2", "minimax_m3_vl_text",
    "ministral3", "mistral", "mixtral", "mpt", "nanochat", "nemotron_h", "olmo", "olmo2", "olmo3", "olmoe", "opt",
    "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_5_moe_text", "qwen3_5_text",
    "qwen3_moe", "qwen3_next", "recurrent_gemma", "rwkv", "seed_oss", "smollm3", "stablelm", "starcoder2", "youtu",
    "zamba", "zamba2",
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


def cache_after(made: torch.nn.Module, tokens: int) -> transformers.Cache:
    with torch.no_grad():
        return made(torch.arange(1, tokens + 1)[None], use_cache=True).past_key_values


def kept_values(cache: transformers.Cache) -> int:
    """Of keys and values in all layers; those without attention have none, or empty ones."""
    filled = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
    return sum(layer.keys.numel() + layer.values.numel() for layer in filled)


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
    cache = cache_after(made, 10)
    assert found.kept_bytes(10, 16) - found.state_bytes == 2 * kept_values(cache)
    states = [layer.recurrent_states for layer in cache.layers if getattr(layer, "recurrent_states", None)]
    carried = sum(state.numel() for layer in states for state in layer.values())
    # In 32 bits, beside a convolution of 3 tokens in 16.
    assert found.state_bytes == 4 * carried + 3 * (3 * (2 * 2 * 16 + 4 * 16)) * 2


# As their checkpoints are, where those differ from what transformers takes by itself.
PUBLISHED: dict[str, tuple[str, dict[str, object]]] = {
    "RecurrentGemma 2B": ("recurrent_gemma", {"intermediate_size": 15360, "num_key_value_heads": 1}),
    "RecurrentGemma 9B": ("recurrent_gemma", {
        "hidden_size": 4096, "num_hidden_layers": 38, "num_attention_heads": 16, "num_key_value_heads": 1,
        "intermediate_size": 24576, "lru_width": 4096,
    }),
    "RWKV 4 169M": ("rwkv", {"hidden_size": 768, "num_hidden_layers": 12}),
    "Zamba 2 1.2B": ("zamba2", {
        "hidden_size": 2048, "num_hidden_layers": 38, "num_attention_heads": 32, "n_mamba_heads": 64,
        "mamba_d_state": 64, "num_mem_blocks": 1, "use_shared_attention_adapter": True, "adapter_rank": 128,
        "layers_block_type": [
            "hybrid" if i in (5, 11, 17, 23, 29, 35) else "linear_attention" for i in range(38)
        ],
    }),
    "Zamba 2 7B": ("zamba2", {
        "hidden_size": 3584, "num_hidden_layers": 81, "num_attention_heads": 32, "n_mamba_heads": 112,
        "mamba_ngroups": 2, "num_mem_blocks": 2,
        "layers_block_type": [
            "hybrid" if i > 5 and i % 6 == 5 else "linear_attention" for i in range(81)
        ],
    }),
    "Zamba 2 with all that is optional": ("zamba2", {
        "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2,
        "n_mamba_heads": 8, "num_mem_blocks": 4, "use_shared_attention_adapter": True, "adapter_rank": 8,
        "add_bias_linear": True, "layers_block_type": ["hybrid", "linear_attention", "hybrid", "hybrid", "hybrid"],
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes_have_the_parameters_of_the_model_that_they_make(name: str) -> None:
    kind, values = PUBLISHED[name]
    config, model = CONFIG_MAPPING[kind](**values), MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    with torch.device("meta"):
        made = getattr(transformers, model)(config)
    assert from_config(written(config, model), name="x", source="config.json").parameters == counted(made)


PAIRS: dict[str, tuple[str, dict[str, object]]] = {
    "t5": ("T5ForConditionalGeneration", {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3}),
    "mt5": ("MT5ForConditionalGeneration", {"d_model": 768, "d_ff": 2048, "num_heads": 12}),
    "umt5": ("UMT5ForConditionalGeneration", {"num_decoder_layers": 5}),
    "bart": ("BartForConditionalGeneration", {"encoder_layers": 3, "decoder_layers": 5, "encoder_ffn_dim": 512}),
    "mbart": ("MBartForConditionalGeneration", {"decoder_layers": 1, "decoder_attention_heads": 8}),
    "m2m_100": ("M2M100ForConditionalGeneration", {"encoder_layers": 24, "encoder_ffn_dim": 8192}),
    "pegasus": ("PegasusForConditionalGeneration", {"max_position_embeddings": 512}),
    "marian": ("MarianMTModel", {"d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "vocab_size": 58101,
                                 "decoder_vocab_size": 58101, "pad_token_id": 58100}),
}  # fmt: skip


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("as_is", [True, False])
def test_an_encoder_and_its_decoder_are_counted_to_the_last_parameter(kind: str, as_is: bool) -> None:
    name, values = PAIRS[kind]
    config = CONFIG_MAPPING[kind](**({} if as_is else values))
    with torch.device("meta"):
        made = getattr(transformers, name)(config)
    assert from_config(written(config, name), name="x", source="config.json").parameters == counted(made)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("t5", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
                "vocab_size": 100, "decoder_start_token_id": 0}),
        ("bart", {"d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
                  "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 100}),
    ],
)  # fmt: skip
def test_what_a_decoder_keeps_is_of_what_was_read_and_of_what_was_written(kind: str, values: dict[str, object]) -> None:
    config, name = CONFIG_MAPPING[kind](**values), PAIRS[kind][0]
    made = getattr(transformers, name)(config).eval()
    found = from_config(written(config, name), name="x", source="config.json")
    assert found.parameters == counted(made)
    tokens = torch.arange(3, 13)[None]
    with torch.no_grad():
        cache = made(input_ids=tokens, decoder_input_ids=tokens, use_cache=True).past_key_values
    layers = [*cache.self_attention_cache.layers, *cache.cross_attention_cache.layers]
    assert found.kept_bytes(10, 16) == 2 * sum(layer.keys.numel() + layer.values.numel() for layer in layers)


def test_each_use_of_a_shared_block_keeps_keys_and_values_of_its_own() -> None:
    config = transformers.Zamba2Config(
        hidden_size=64, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=4, vocab_size=100,
        intermediate_size=128, mamba_d_state=16, n_mamba_heads=8, mamba_ngroups=1, num_mem_blocks=2, adapter_rank=8,
        layers_block_type=["linear_attention", "hybrid", "linear_attention", "hybrid", "linear_attention", "hybrid"],
        chunk_size=16,
    )  # fmt: skip
    made = transformers.Zamba2ForCausalLM(config).eval()
    found = from_config(written(config, "Zamba2ForCausalLM"), name="x", source="config.json")
    assert found.parameters == counted(made)
    cache = cache_after(made, 10)
    assert found.kept_bytes(10, 16) - found.state_bytes == 2 * kept_values(cache)


def test_the_states_of_recurrences_are_those_that_transformers_carries() -> None:
    griffin = transformers.RecurrentGemmaConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, intermediate_size=128,
        lru_width=64, vocab_size=100, attention_window_size=32,
    )  # fmt: skip
    found = from_config(written(griffin, "RecurrentGemmaForCausalLM"), name="x", source="config.json")
    made = transformers.RecurrentGemmaForCausalLM(griffin).eval()
    with torch.no_grad():
        made(torch.arange(1, 11)[None], use_cache=True)
    blocks = [layer.temporal_block for layer in made.model.layers if hasattr(layer.temporal_block, "rg_lru")]
    carried = sum(4 * block.rg_lru.recurrent_states.numel() + 2 * block.conv1d_state.numel() for block in blocks)
    assert found.state_bytes == carried
    rwkv = transformers.RwkvConfig(
        hidden_size=64, num_hidden_layers=3, vocab_size=100, attention_hidden_size=64, intermediate_size=96
    )
    found = from_config(written(rwkv, "RwkvForCausalLM"), name="x", source="config.json")
    made = transformers.RwkvForCausalLM(rwkv).eval()
    assert found.parameters == counted(made)
    with torch.no_grad():
        shifted, mixed, *sums = made(torch.arange(1, 11)[None], use_cache=True).state
    # The token before is kept in the model's own type, which is 16 bits when served.
    assert found.state_bytes == 2 * (shifted.numel() + mixed.numel()) + 4 * sum(one.numel() for one in sums)


def test_layers_that_differ_are_the_sum_of_llama_layers_of_those_sizes() -> None:
    """Nemotron-NAS is code of its own; its layers with attention and with a feed-forward layer are Llama's."""

    def layer(kv_heads: int, ffn_size: int) -> int:
        config = transformers.LlamaConfig(
            hidden_size=512, num_attention_heads=8, num_key_value_heads=kv_heads, intermediate_size=ffn_size,
            num_hidden_layers=1, vocab_size=1000, tie_word_embeddings=False,
        )  # fmt: skip
        with torch.device("meta"):
            return counted(transformers.LlamaForCausalLM(config).model.layers[0])

    def block(group: int, times: float) -> dict[str, object]:
        return {"attention": {"n_heads_in_group": group, "no_op": False}, "ffn": {"ffn_mult": times, "no_op": False}}

    blocks = [block(2, 1.0), block(4, 2.5), block(8, 3.0), block(2, 0.1)]
    config = {
        "architectures": ["DeciLMForCausalLM"], "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8,
        "vocab_size": 1000, "max_position_embeddings": 1024, "tie_word_embeddings": False, "block_configs": blocks,
    }  # fmt: skip
    found = from_config(config, name="x", source="config.json")
    # Two thirds of 512, 1280, 1536 and 51, in multiples of 256.
    layers = layer(4, 512) + layer(2, 1024) + layer(1, 1024) + layer(4, 256)
    assert found.parameters == layers + 2 * 1000 * 512 + 512


def test_what_deepseek_v4_keeps_is_what_transformers_fills() -> None:
    """Four layers: one that compresses 16 tokens, two that compress 4 and index them, one with a window alone."""
    many, few = "heavily_compressed_attention", "compressed_sparse_attention"
    config = transformers.DeepseekV4Config(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, head_dim=32, q_lora_rank=16, vocab_size=100,
        moe_intermediate_size=32, n_routed_experts=4, num_experts_per_tok=2, o_groups=2, o_lora_rank=8,
        index_n_heads=2, index_head_dim=16, index_topk=4, sliding_window=64, max_position_embeddings=512,
        layer_types=[many, few, "sliding_attention", few], compress_rates={few: 4, many: 16},
        mlp_layer_types=["hash_moe", "moe", "moe", "moe"],
    )  # fmt: skip
    made = transformers.DeepseekV4ForCausalLM(config).eval()
    found = from_config(written(config, "DeepseekV4ForCausalLM"), name="x", source="config.json")
    assert found.parameters == counted(made)
    cache = cache_after(made, 32)
    older = [tensor for layer in cache.layers for tensor in getattr(layer, "compressed_kv", {}).values()]
    # Key and value are the same tensor.
    grown = sum(layer.keys.numel() for layer in cache.layers) + sum(tensor.numel() for tensor in older)
    assert found.kept_bytes(32, 16) - found.state_bytes == 2 * grown
    cache = cache_after(made, 47)
    names = ("buffer_kv", "buffer_gate", "overlap_kv", "overlap_gate")
    waiting = [
        tensor
        for layer in cache.layers
        for name in names
        for tensor in getattr(layer, name, {}).values()
        if tensor is not None
    ]
    # All but one of the tokens that a stretch takes wait at most: 15 of 16 and 3 of 4 here.
    held = sum(tensor.numel() for tensor in waiting)
    assert found.state_bytes == 2 * (held + 2 * 32 + 2 * 4 * (32 + 16))
