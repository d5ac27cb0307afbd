"""Configs of models that keep more, or less, than keys and values of every token: each number with its working."""

import pytest

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.plan import serving
from wayra.plan.hardware import hardware
from wayra.plan.memory import Request, fit, kv_bytes, kv_bytes_per_token, weights_bytes
from wayra.plan.models import Architecture
from wayra.plan.quantity import explain
from wayra.plan.reading import from_config
from wayra.plan.roofline import Deployment, Load, attention_flops, decode_terms, step_work
from wayra.plan.stored import stored_as

DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"], "num_hidden_layers": 61, "hidden_size": 7168, "vocab_size": 129280,
    "num_attention_heads": 128, "num_key_value_heads": 128, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "moe_layer_freq": 1, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "max_position_embeddings": 163840, "num_nextn_predict_layers": 1, "tie_word_embeddings": False,
}  # fmt: skip
INDEXED = {"index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048}
KIMI_K2 = {
    **DEEPSEEK_V3, "model_type": "kimi_k2", "vocab_size": 163840, "num_attention_heads": 64, "num_key_value_heads": 64,
    "n_routed_experts": 384, "first_k_dense_replace": 1, "num_nextn_predict_layers": 0,
}  # fmt: skip
DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "num_hidden_layers": 27, "hidden_size": 2048, "vocab_size": 102400,
    "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 10944, "moe_intermediate_size": 1408,
    "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
    "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "max_position_embeddings": 163840,
}  # fmt: skip
GEMMA_3_27B = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "num_hidden_layers": 62, "hidden_size": 5376, "num_attention_heads": 32,
        "num_key_value_heads": 16, "head_dim": 128, "intermediate_size": 21504, "vocab_size": 262208,
        "sliding_window": 1024, "sliding_window_pattern": 6, "max_position_embeddings": 131072,
    },
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 896, "patch_size": 14, "vision_use_head": False,
    },
}  # fmt: skip
QWEN3_NEXT = {
    "architectures": ["Qwen3NextForCausalLM"], "num_hidden_layers": 48, "hidden_size": 2048, "vocab_size": 151936,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "intermediate_size": 5120,
    "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
    "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
    "linear_value_head_dim": 128, "linear_num_value_heads": 32, "max_position_embeddings": 262144,
}  # fmt: skip
NEMOTRON_H_8B = {
    "architectures": ["NemotronHForCausalLM"], "num_hidden_layers": 52, "hidden_size": 4096, "vocab_size": 131072,
    "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-", "num_attention_heads": 32,
    "num_key_value_heads": 8, "attention_head_dim": 128, "intermediate_size": 21504, "mamba_num_heads": 128,
    "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4, "max_position_embeddings": 8192,
}  # fmt: skip
GRANITE_4_SMALL = {
    "architectures": ["GraniteMoeHybridForCausalLM"], "num_hidden_layers": 40, "hidden_size": 4096,
    "layer_types": ["attention" if i % 10 == 5 else "mamba" for i in range(40)], "vocab_size": 100352,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 768, "shared_intermediate_size": 1536,
    "num_local_experts": 72, "num_experts_per_tok": 10, "mamba_n_heads": 128, "mamba_d_head": 64, "mamba_n_groups": 1,
    "mamba_d_state": 128, "mamba_d_conv": 4, "mamba_expand": 2, "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
}  # fmt: skip
UNKNOWN = {
    "architectures": ["NextYearForCausalLM"], "model_type": "next_year", "num_hidden_layers": 32, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "max_position_embeddings": 8192,
}  # fmt: skip


def read(config: dict[str, object], **changed: object) -> Architecture:
    return from_config({**config, **changed}, name="m", source="config.json")


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        # In billions. Cards and reports: 671 and 37 (without its embedding), 1,000 and 32, 15.7 and 2.4 (likewise), 27,
        # 80 and 3, 8, 32 and 9.
        (DEEPSEEK_V3, 671, 37.5),
        (KIMI_K2, 1026, 32.9),
        (DEEPSEEK_V2_LITE, 15.7, 2.66),
        (GEMMA_3_27B, 27.4, 27.0),
        (QWEN3_NEXT, 79.7, 3.88),
        (NEMOTRON_H_8B, 8.1, 8.1),
        (GRANITE_4_SMALL, 32.2, 8.8),
    ],
)
def test_totals_and_active_parameters_are_those_published(config: dict[str, object], total: float, active: float):
    found = read(config)
    assert found.parameters / 1e9 == pytest.approx(total, rel=0.005)
    assert found.active_parameters / 1e9 == pytest.approx(active, rel=0.01)


def test_a_latent_cache_is_one_vector_a_token_and_layer():
    # 61 layers of 512 + 64 values of 2 bytes.
    found = read(DEEPSEEK_V3)
    assert kv_bytes_per_token(found, 16).value == 61 * (512 + 64) * 2 == 70_272
    assert kv_bytes(found, Request(8, 32_768)).value == 8 * 32_768 * 70_272
    assert kv_bytes(found, Request(1, 1, kv_bits=8)).value == 70_272 / 2


def test_latent_projections_are_counted_one_by_one():
    # Queries 7168 * 1536 + 1536 * 128 * 192; the vector 7168 * 576; keys and values of it 512 * 128 * 256; out
    # 128 * 128 * 7168.
    layer = 7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 * 128 * 256 + 128 * 128 * 7168
    assert read(DEEPSEEK_V3).attention == 61 * layer
    # Without a rank of its own the query has one matrix.
    lite = 2048 * 16 * 192 + 2048 * 576 + 512 * 16 * 256 + 16 * 128 * 2048
    assert read(DEEPSEEK_V2_LITE).attention == 27 * lite


def test_dense_layers_come_first_and_layers_that_guess_ahead_are_noted():
    found = read(DEEPSEEK_V3)
    assert found.experts is not None
    assert (found.experts.layers, found.experts.count, found.experts.used, found.dense_layers) == (58, 256, 8, 3)
    assert found.dense_mlp == 3 * 3 * 7168 * 18432
    assert found.shared_experts == 58 * 3 * 7168 * 2048
    assert "1 more layer that guesses tokens ahead may be in the checkpoint" in found.note
    assert "ahead" not in read(KIMI_K2).note


def test_a_decode_step_multiplies_all_heads_with_the_one_vector():
    # Absorbed: 128 heads, products with 576 values for the score and 512 for the result, for each token kept.
    found = read(DEEPSEEK_V3)
    machine = Deployment(found, stored_as("fp8"), hardware("h200"), 8)
    near, far = (step_work(machine, 1, context).operations for context in (1000, 2000))
    assert far - near == pytest.approx(1000 * 61 * 2 * 128 * (576 + 512))
    # A prompt is read with keys of 192 and values of 128.
    assert attention_flops(found, 1000) == pytest.approx(61 * 2 * 128 * (192 + 128) * 1000**2 / 2)


def test_sparse_attention_keeps_all_tokens_and_reads_some():
    found = read(DEEPSEEK_V3, architectures=["DeepseekV32ForCausalLM"], **INDEXED)
    # A key of 128 values in 8 bits and a scale of 4 bytes besides, in each layer.
    assert kv_bytes_per_token(found, 16).value == 70_272 + 61 * 132
    assert found.kept_bytes(100_000, 16) == 100_000 * (70_272 + 61 * 132)
    assert found.seen_bytes(100_000, 16) == 2048 * 70_272 + 100_000 * 61 * 132
    # Which tokens: 1536 * 64 * 128 of the query, 7168 * 128 of the key, 7168 * 64 weights, and a norm of two terms.
    assert found.parameters - read(DEEPSEEK_V3).parameters == 61 * (1536 * 64 * 128 + 7168 * 192 + 256)


def test_cards_that_share_a_latent_cache_copy_it():
    model = read(DEEPSEEK_V3)
    found = fit(model, stored_as("fp8"), hardware("h200"), Request(1, 8192))
    told = found.warnings
    assert any("8 cards, and one vector a token for all heads" in text for text in told)
    # Each of the 8 keeps all of it: 70,272 B a token, and reads it, in the time that one card takes.
    assert found.kv.value == 8 * 8192 * 70_272
    assert any("copies = 8" in line for line in explain(found.kv))
    eight, one = (Deployment(model, stored_as("fp8"), hardware("h200"), cards) for cards in (8, 1))
    read_once = decode_terms(one, Load(1, 8192, 0), interleaved=False).kv_s
    assert decode_terms(eight, Load(1, 8192, 0), interleaved=False).kv_s == pytest.approx(read_once)
    machine = serving.Machine(model, hardware("h200"), 8, stored_as("fp8"))
    assert serving.kv_bytes_per_sequence(machine, 8192) == found.kv.value
    of = {item.name: item.value for item in serving.memory_gb(machine, 4, 8192).inputs}
    assert of["batch"] * of["kv_bytes_per_sequence"] == 4 * found.kv.value
    alone = fit(read(DEEPSEEK_V2_LITE), stored_as("bf16"), hardware("h100"), Request(1, 8192)).warnings
    assert not any("one vector" in text for text in alone)


def test_five_of_six_layers_of_gemma_3_keep_a_window():
    found = read(GEMMA_3_27B)
    assert [(one.layers, one.window) for one in found.mixing] == [(52, 1024), (10, 0)]
    # Keys and values of 16 heads of 128 in 2 bytes: 10 layers keep 131,072 tokens, 52 keep 1,024.
    assert kv_bytes(found, Request(1, 131_072)).value == (10 * 131_072 + 52 * 1024) * 2 * 16 * 128 * 2
    assert found.tied
    listed = {**GEMMA_3_27B["text_config"], "layer_types": ["sliding_attention", "full_attention"] * 31}
    assert [one.layers for one in read(GEMMA_3_27B, text_config=listed).mixing] == [31, 31]


def test_the_encoder_of_images_of_gemma_3_is_counted():
    # A layer: 4 * (1152^2 + 1152) + 1152 * 4304 * 2 + 4304 + 1152 + 4 * 1152; patches 588 * 1152 + 1152, 4,096 places
    # of 1152, a last norm of 2 * 1152; projected with 1152 * 5376 and a norm of 1152.
    layer = 4 * (1152**2 + 1152) + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152
    encoder = 27 * layer + 588 * 1152 + 1152 + 4096 * 1152 + 2 * 1152 + 1152 * 5376 + 1152
    assert read(GEMMA_3_27B).image_parameters == encoder
    without = read(GEMMA_3_27B, vision_config={"model_type": "siglip_vision_model"})
    assert without.image_parameters == 0
    assert "text model alone: its encoder of images is not counted" in without.note


def test_sizes_that_a_text_part_leaves_out_are_those_of_its_family():
    # The file of Gemma 3 4B says no more: 8 heads, 4 for keys and values, of 256, and 262,208 tokens are its family's.
    text = {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "sliding_window": 1024,
    }  # fmt: skip
    found = read(GEMMA_3_27B, text_config=text)
    assert found.parameters == pytest.approx(4.30e9, rel=0.001)
    assert kv_bytes_per_token(found, 16).value == 34 * 2 * 4 * 256 * 2
    # LLaVA 1.5 7B names a Llama of 32,064 tokens.
    clip = {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
    }  # fmt: skip
    llava = {
        "architectures": ["LlavaForConditionalGeneration"], "text_config": {"model_type": "llama", "vocab_size": 32064},
        "vision_config": clip,
    }  # fmt: skip
    assert read(llava).parameters == pytest.approx(7.06e9, rel=0.001)


def test_three_of_four_layers_of_qwen3_next_keep_a_state():
    found = read(QWEN3_NEXT)
    # 36 layers: 3 tokens of 2 * 16 * 128 + 32 * 128 channels in 2 bytes, and 32 heads of 128 * 128 values in 4.
    state = 36 * (3 * (2 * 2048 + 4096) * 2 + 32 * 128 * 128 * 4)
    assert found.state_bytes == state
    # 12 layers of keys and values, 2 heads of 256.
    assert kv_bytes(found, Request(3, 50_000)).value == 3 * (state + 50_000 * 12 * 2 * 2 * 256 * 2)
    # A step reads the state and writes it.
    assert found.seen_bytes(1000, 16) == 2 * state + 1000 * 12 * 2 * 2 * 256 * 2
    narrow = read(QWEN3_NEXT, mamba_ssm_dtype="bfloat16")
    assert state - narrow.state_bytes == 36 * 32 * 128 * 128 * 2


def test_layers_of_nemotron_h_do_one_thing_each():
    found = read(NEMOTRON_H_8B)
    assert [(one.name, one.layers) for one in found.mixing] == [("Mamba 2", 24), ("full attention", 4)]
    assert found.dense_layers == 24
    # Mamba: 8,192 + 2 * 8 * 128 channels of a convolution in 2 bytes, and 8,192 * 128 values in 4.
    assert found.state_bytes == 24 * (3 * (8192 + 2048) * 2 + 8192 * 128 * 4)
    assert kv_bytes_per_token(found, 16).value == 4 * 2 * 8 * 128 * 2


def test_the_state_does_not_grow_and_says_so():
    found = read(GRANITE_4_SMALL)
    short, long = (kv_bytes(found, Request(1, tokens)) for tokens in (1, 100_000))
    assert long.value - short.value == 99_999 * 4 * 2 * 8 * 128 * 2
    lines = "\n".join(explain(long))
    assert "mamba_2_bytes + full_attention_bytes" in lines
    assert "of a sequence of any length: convolution 3 x 8,448 values of 2 bytes" in lines


def test_attention_beside_states_and_alone_is_told_apart():
    kinds = ["hybrid", "mamba", "attention", "hybrid"] * 10
    found = read(GRANITE_4_SMALL, layer_types=kinds)
    assert len({one.name for one in found.mixing}) == len(found.mixing) == 4
    assert kv_bytes_per_token(found, 16).value == 30 * 2 * 8 * 128 * 2
    one_state = 3 * 8448 * 2 + 8192 * 128 * 4
    assert kv_bytes(found, Request(1, 64)).value == 64 * 30 * 4096 + 30 * one_state


def test_models_of_states_alone_keep_the_same_at_every_length():
    mamba = {
        "architectures": ["MambaForCausalLM"], "num_hidden_layers": 48, "hidden_size": 1536, "state_size": 16,
        "intermediate_size": 3072, "conv_kernel": 4, "time_step_rank": 96, "vocab_size": 50280,
        "tie_word_embeddings": True,
    }  # fmt: skip
    found = read(mamba)
    assert found.kept_bytes(1, 16) == found.kept_bytes(10**6, 16) == 48 * (3 * 3072 * 2 + 3072 * 16 * 4)
    answer = fit(found, stored_as("bf16"), hardware("rtx4090"), Request(4, 8192))
    assert answer.fits
    assert answer.max_batch > 1000


def test_what_this_engine_does_not_run_is_told_on_a_cpu():
    told = fit(read(NEMOTRON_H_8B), stored_as("q4_0"), hardware("server-zen4"), Request(1, 8192)).warnings
    assert "this engine, which CPUs are planned with, runs no Mamba 2 yet" in told
    told = fit(read(UNKNOWN), stored_as("q4_0"), hardware("server-zen4"), Request(1, 8192)).warnings
    assert not any("runs no" in text for text in told)


def test_an_unknown_architecture_is_sized_as_llama_and_says_so():
    found = read(UNKNOWN)
    # A layer as in Llama 3.1 8B.
    assert found.parameters == 2 * 525_336_576 + 32 * (218_103_808 + 8192) + 4096
    assert "the planner does not know 'NextYearForCausalLM': it is sized as a model like Llama" in found.note
    assert any(
        "an assumption" in text for text in fit(found, stored_as("bf16"), hardware("h100"), Request(1, 1)).warnings
    )
    sparse = read(UNKNOWN, num_experts=64, num_experts_per_tok=4, moe_intermediate_size=1024)
    assert sparse.experts is not None
    assert sparse.routed_experts == 32 * 64 * 3 * 4096 * 1024


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "cannot size it like Llama: config.json lacks hidden_size"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers is 'many'; expected an integer"),
        ({"is_encoder_decoder": True}, "no model that reads and writes with one decoder"),
        ({"architectures": ["NextYearForMaskedLM"]}, "no model that reads and writes with one decoder"),
        ({"rwkv_head_size": 64}, "'rwkv_head_size' changes what it remembers"),
        ({"compress_ratios": [4, 128]}, "'compress_ratios' changes what it remembers"),
        ({"layer_types": ["retention"] * 32}, "cannot size layers of 'retention'"),
        ({"layer_types": ["linear_attention"] * 32}, "layers that keep no keys and values"),
    ],
)
def test_what_cannot_be_sized_is_refused_in_a_sentence(change: dict[str, object], message: str):
    with pytest.raises(UnsupportedModel, match=message):
        read(UNKNOWN, **change)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (DEEPSEEK_V3, {"kv_lora_rank": None}, "lacks kv_lora_rank"),
        (DEEPSEEK_V3, {"kv_lora_rank": -1}, "kv_lora_rank is -1; expected 1 to"),
        (DEEPSEEK_V3, {"kv_lora_rank": "512"}, "kv_lora_rank is '512'; expected an integer"),
        (DEEPSEEK_V3, {"qk_rope_head_dim": 10**9}, "qk_rope_head_dim is 1000000000; expected 1 to"),
        (DEEPSEEK_V3, {"num_experts_per_tok": 1000}, "num_experts_per_tok is 1000; expected 1 to 256"),
        (DEEPSEEK_V3, {"first_k_dense_replace": -3}, "first_k_dense_replace is -3"),
        (DEEPSEEK_V3, {"moe_layer_freq": 0}, "moe_layer_freq is 0"),
        (DEEPSEEK_V3, {"moe_layer_freq": [0, 1]}, "moe_layer_freq lists 2 of 61 layers"),
        (QWEN3_NEXT, {"full_attention_interval": 0}, "full_attention_interval is 0"),
        (QWEN3_NEXT, {"layer_types": ["full_attention"] * 3}, "layer_types lists 3 of 48 layers"),
        (QWEN3_NEXT, {"layer_types": "full"}, "layer_types is 'full'; expected a list of texts"),
        (QWEN3_NEXT, {"linear_num_value_heads": 10**12}, "linear_num_value_heads is 1000000000000"),
        (NEMOTRON_H_8B, {"hybrid_override_pattern": "M?"}, "expected a letter of M"),
        (NEMOTRON_H_8B, {"hybrid_override_pattern": "M" * 10**6}, "expected a letter of M"),
        (NEMOTRON_H_8B, {"ssm_state_size": 0}, "ssm_state_size is 0"),
        (GRANITE_4_SMALL, {"mamba_n_heads": 127, "mamba_d_head": "auto"}, "cannot be shared out among 127"),
        (GRANITE_4_SMALL, {"num_local_experts": 1 << 40}, "num_experts is 1099511627776"),
    ],
)
def test_wrong_fields_are_one_sentence(config: dict[str, object], change: dict[str, object], message: str):
    with pytest.raises(FileFormatError, match=message) as caught:
        read(config, **change)
    assert "\n" not in str(caught.value)


def test_weights_of_a_mixture_are_counted_at_the_formats_bits():
    # All projections and experts in one byte, tables, norms and routers in two.
    found = read(DEEPSEEK_V3)
    linear = found.attention + found.dense_mlp + found.shared_experts + found.routed_experts
    rest = found.parameters - linear
    assert weights_bytes(found, stored_as("fp8")).value == linear + 2 * rest
