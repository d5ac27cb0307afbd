"""Families whose layers are shared, differ, remember in a number a channel, or read apart: each number's working."""

import json
from pathlib import Path
from typing import Any

import pytest

from wayra.base.errors import FileFormatError, UnsupportedModel, WayraError
from wayra.cli.main import main
from wayra.plan.architecture import Architecture
from wayra.plan.hardware import hardware
from wayra.plan.memory import Request, fit, kv_bytes, kv_bytes_per_token
from wayra.plan.reading import from_config
from wayra.plan.roofline import product_flops, weight_bytes_read
from wayra.plan.stored import stored_as

RECURRENT_GEMMA_2B: dict[str, Any] = {
    "architectures": ["RecurrentGemmaForCausalLM"], "hidden_size": 2560, "num_hidden_layers": 26, "head_dim": 256,
    "num_attention_heads": 10, "num_key_value_heads": 1, "intermediate_size": 15360, "lru_width": 2560,
    "conv1d_width": 4, "attention_window_size": 2048, "vocab_size": 256000, "attention_bias": False,
    "block_types": ["recurrent", "recurrent", "attention"],
}  # fmt: skip
RWKV_4_7B: dict[str, Any] = {
    "architectures": ["RwkvForCausalLM"], "hidden_size": 4096, "attention_hidden_size": 4096, "num_hidden_layers": 32,
    "intermediate_size": 16384, "vocab_size": 50277, "context_length": 1024, "tie_word_embeddings": False,
}  # fmt: skip
ZAMBA2_7B: dict[str, Any] = {
    "architectures": ["Zamba2ForCausalLM"], "hidden_size": 3584, "num_hidden_layers": 81, "num_attention_heads": 32,
    "num_key_value_heads": 32, "attention_head_dim": 224, "kv_channels": 112, "intermediate_size": 14336,
    "vocab_size": 32000, "max_position_embeddings": 4096, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_expand": 2,
    "mamba_ngroups": 2, "n_mamba_heads": 112, "mamba_headdim": 64, "num_mem_blocks": 2, "adapter_rank": 128,
    "use_shared_attention_adapter": False, "add_bias_linear": False,
    "layers_block_type": ["mamba"] * 68 + ["hybrid"] * 13,
}  # fmt: skip
ZAMBA_7B: dict[str, Any] = {
    "architectures": ["ZambaForCausalLM"], "hidden_size": 3712, "num_hidden_layers": 76, "num_attention_heads": 16,
    "num_key_value_heads": 16, "attention_head_dim": 464, "intermediate_size": 14848, "vocab_size": 32000,
    "max_position_embeddings": 4096, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "n_mamba_heads": 2,
    "mamba_dt_rank": 232, "mamba_conv_bias": True, "mamba_proj_bias": False, "attn_layer_period": 6,
    "attn_layer_offset": 4,
}  # fmt: skip
FLAN_T5_XL: dict[str, Any] = {
    "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True, "d_model": 2048,
    "d_ff": 5120, "d_kv": 64, "num_heads": 32, "num_layers": 24, "num_decoder_layers": 24, "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32, "tie_word_embeddings": False,
    "n_positions": 512,
}  # fmt: skip
BART_LARGE: dict[str, Any] = {
    "architectures": ["BartForConditionalGeneration"], "model_type": "bart", "is_encoder_decoder": True,
    "d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 16,
    "decoder_attention_heads": 16, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "vocab_size": 50265,
    "max_position_embeddings": 1024,
}  # fmt: skip
DEEPSEEK_V4_FLASH: dict[str, Any] = {
    "architectures": ["DeepseekV4ForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 43, "head_dim": 512,
    "num_attention_heads": 64, "num_key_value_heads": 1, "q_lora_rank": 1024, "o_groups": 8, "o_lora_rank": 1024,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 6,
    "vocab_size": 129280, "max_position_embeddings": 1048576, "sliding_window": 128, "index_n_heads": 64,
    "index_head_dim": 128, "index_topk": 512, "hc_mult": 4, "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
}  # fmt: skip
# Of Llama 3.3 Nemotron Super 49B: layers with attention or without, and the multiplier of their feed-forward width.
SUPER_49B = (
    [(8, 2.625)] + [(8, 5.25)] * 5 + [(0, 2.625)] * 2 + [(8, 5.25)] * 3 + [(0, 3.28125)] + [(8, 5.25)] * 30
    + [(0, m) for m in (1.3125, 2.625, 2.625, 1.3125, 5.25, 1.3125, 2.625, 1.3125, 1.3125, 1.3125)] + [(8, 5.25)]
    + [(0, m) for m in (1.3125, 1.0, 1.0, 1.3125, 1.0, 1.0, 1.0, 1.3125, 1.3125, 0.5, 0.5, 1.0, 1.0, 0.5, 0.5, 1.0)]
    + [(0, 0.5)] * 2 + [(8, 5.25)] * 9
)  # fmt: skip


def block(group: int, multiplier: float | None, **attention: object) -> dict[str, Any]:
    """group: query heads of a KV head, 0 for no attention."""
    return {
        "attention": {
            "n_heads_in_group": group or None, "no_op": not group, "replace_with_linear": False,
            "num_sink_tokens": None, "window_length": None, "sparsify": None, **attention,
        },
        "ffn": {"ffn_mult": multiplier, "no_op": multiplier is None, "replace_with_linear": False, "sparsify": None},
    }  # fmt: skip


NEMOTRON_SUPER_49B: dict[str, Any] = {
    "architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "hidden_size": 8192,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": None, "intermediate_size": None,
    "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False,
    "attention_bias": False, "mlp_bias": False, "block_configs": [block(*layer) for layer in SUPER_49B],
}  # fmt: skip


def read(config: dict[str, Any], **change: object) -> Architecture:
    return from_config({**config, **change}, name="m", source="config.json")


def test_a_gated_recurrence_keeps_a_number_a_channel_and_attention_a_window():
    found = read(RECURRENT_GEMMA_2B)
    assert [(one.name, one.layers, one.window) for one in found.mixing] == [
        ("gated linear recurrence", 18, 0), ("sliding attention", 8, 2048),
    ]  # fmt: skip
    # 3 tokens of the convolution in 2 bytes, the recurrence in 4.
    assert found.state_bytes == 18 * (3 * 2560 * 2 + 2560 * 4)
    # Key and value of one head of 256 in 2 bytes, 8 layers, 2048 tokens and no more.
    assert kv_bytes(found, Request(1, 100_000)).value == found.state_bytes + 8 * 2 * 256 * 2 * 2048
    # Three projections, and two gates of 10 squares of 256; each feed-forward matrix has half the stated width.
    recurrent = 3 * 2560 * 2560 + 2 * 2560 * 256
    assert found.attention == 18 * recurrent + 8 * (2 * 2560 * 2560 + 2 * 2560 * 256)
    assert found.dense_mlp == 26 * 3 * 2560 * 7680
    assert found.tied


def test_rwkv_keeps_sums_and_the_token_before():
    found = read(RWKV_4_7B)
    assert found.state_bytes == 32 * (2 * 4096 * 2 + 3 * 4096 * 4)
    assert kv_bytes(found, Request(4, 100_000)).value == 4 * found.state_bytes
    # Four squares; key and value of the feed-forward layer, and its gate.
    assert found.linear == 32 * (4 * 4096**2 + 2 * 4096 * 16384 + 4096**2)
    # Norms with shifts, one more before the first layer; five vectors of the mixing, two of the feed-forward layer's.
    assert found.small == 32 * (2 * 2 + 5 + 2) * 4096 + 2 * 2 * 4096
    assert found.context_len == 1024
    answer = fit(found, stored_as("bf16"), hardware("rtx4090"), Request(4, 1024), 3)
    assert not any("divide" in text for text in answer.warnings)


def test_blocks_that_layers_share_are_stored_once_and_read_as_often_as_used():
    found = read(ZAMBA2_7B)
    assert [(one.name, one.layers) for one in found.mixing] == [("Mamba 2", 81), ("shared attention", 13)]
    # Each use keeps keys and values of its own: 32 heads of 224 in 2 bytes.
    assert kv_bytes_per_token(found, 16).value == 13 * 2 * 32 * 224 * 2
    # Twice as wide as the model before, as wide behind; then gate, up and down.
    one = 7168 * 3 * 7168 + 7168 * 3584 + 3 * 3584 * 14336
    assert found.repeated == (13 - 2) * one
    assert found.linear == found.attention + 2 * one
    stored = stored_as("bf16")
    step = 2 * (found.linear + found.repeated + found.embedding + found.small)
    assert weight_bytes_read(found, stored, 1) == step
    assert product_flops(found, 1, 0, on_cpu=False) == 2 * (found.linear + found.repeated)
    assert found.active_parameters == found.parameters
    alone = read(ZAMBA2_7B, num_mem_blocks=64)
    assert (alone.repeated, alone.linear - found.linear) == (0, 11 * one)


def test_adapters_of_shared_blocks_belong_to_each_use():
    plain, adapted = read(ZAMBA2_7B), read(ZAMBA2_7B, use_shared_attention_adapter=True)
    assert adapted.parameters - plain.parameters == 13 * 3 * 2 * 7168 * 128


def test_old_zamba_files_count_their_shared_layers_off():
    found = read(ZAMBA_7B)
    # The third layer, and of the 73 after it every sixth from the fifth on.
    assert [(one.name, one.layers) for one in found.mixing] == [("Mamba", 76), ("shared attention", 13)]
    assert found.parameters / 1e9 == pytest.approx(7.23, rel=0.001)


def test_layers_that_a_search_left_different_are_counted_one_by_one():
    found = read(NEMOTRON_SUPER_49B)
    # As the model's card has it, 49 of 80 layers attend, with 8 KV heads of 128.
    assert found.parameters / 1e9 == pytest.approx(49.87, rel=0.001)
    assert [(one.layers, one.kv_heads) for one in found.mixing] == [(49, 8)]
    assert kv_bytes_per_token(found, 16).value == 49 * 2 * 8 * 128 * 2 == 200_704
    # A layer without attention and with a narrow feed-forward layer: 2 / 3 * 8192 / 2, in whole multiples of 256.
    narrow = read(NEMOTRON_SUPER_49B, num_hidden_layers=2, block_configs=[block(8, 0.5), block(0, 0.5)])
    assert narrow.linear == 2 * 3 * 8192 * 2816 + 8192 * (2 * 8192 + 2 * 1024)
    assert narrow.small == (2 + 1) * 8192 + 8192
    nothing = read(NEMOTRON_SUPER_49B, num_hidden_layers=2, block_configs=[block(8, 0.5), block(0, None)])
    assert narrow.parameters - nothing.parameters == 3 * 8192 * 2816 + 8192


def test_layers_with_other_kv_heads_are_shared_out_apart():
    mixed = read(NEMOTRON_SUPER_49B, num_hidden_layers=3, block_configs=[block(8, 1), block(16, 1), block(16, 1)])
    assert [(one.name, one.layers, one.kv_heads) for one in mixed.mixing] == [
        ("full attention", 1, 8), ("full attention 2", 2, 4),
    ]  # fmt: skip
    eight = fit(mixed, stored_as("bf16"), hardware("h100"), Request(1, 8192), 8)
    # Eight cards keep two copies of the layers with four KV heads.
    assert eight.kv.value == 8192 * 2 * 128 * 2 * (8 + 2 * 2 * 4)
    assert any("the KV cache counts 2 times in layers with so few" in text for text in eight.warnings)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"block_configs": None}, FileFormatError, "block_configs has 0 of 80 layers"),
        ({"block_configs": [1] * 80}, FileFormatError, "n_heads_in_group"),
        ({"block_configs": [block(8, 1.0)] * 3}, FileFormatError, "block_configs has 3 of 80 layers"),
        ({"block_configs": [block(7, 1.0)] * 80}, FileFormatError, "cannot be shared out among 7"),
        ({"block_configs": [block(8, -1.0)] * 80}, FileFormatError, "ffn_mult is -1.0"),
        ({"block_configs": [block(8, float("nan"))] * 80}, FileFormatError, "ffn_mult is nan"),
        ({"block_configs": [block(8, 1000.0)] * 80}, FileFormatError, "ffn_mult makes 5,461,504"),
        ({"block_configs": [block(0, 1.0)] * 80}, UnsupportedModel, "none of its layers attends"),
        ({"block_configs": [block(8, 1.0, window_length=64)] * 80}, UnsupportedModel, "window_length changes what"),
    ],
)
def test_blocks_that_say_nothing_sensible_are_refused(change: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        read(NEMOTRON_SUPER_49B, **change)


def test_compressed_tokens_count_by_the_vectors_that_stand_for_them():
    found = read(DEEPSEEK_V4_FLASH)
    assert found.parameters / 1e9 == pytest.approx(284, rel=0.005)
    assert found.active_parameters / 1e9 == pytest.approx(13, rel=0.1)
    # 128 tokens in all 43 layers; a vector of 512 for 4 tokens with a key of 128 in 20, and for 128 tokens in 23.
    latest, few, many = 43 * 128 * 512, 20 * (512 + 128) // 4, 23 * 512 // 128
    assert found.kept_bytes(1 << 20, 16) - found.state_bytes == 2 * (latest + (few + many) * (1 << 20))
    # What waits: 6 vectors for each of 4 tokens and keys like them, 2 for each of 128 tokens.
    assert found.state_bytes == 2 * (20 * 6 * 4 * (512 + 128) + 23 * 2 * 128 * 512)
    # The next token sees 512 of the vectors that it chooses, and all keys and all of the others.
    seen = 20 * 512 * 512 + (1 << 20) * (20 * 128 // 4 + many)
    assert found.seen_bytes(1 << 20, 16) - 2 * found.state_bytes == 2 * (latest + seen)
    assert read(DEEPSEEK_V4_FLASH, compress_ratios=[128, 128] + [128, 4] * 21).mixing == found.mixing
    eight = fit(found, stored_as("fp8"), hardware("h200"), Request(1, 1 << 20), 8)
    assert eight.kv.value == found.state_bytes + 8 * 2 * (latest + (few + many) * (1 << 20))


def test_an_encoder_with_a_decoder_keeps_what_was_written_and_what_was_read():
    found = read(FLAN_T5_XL)
    assert found.parameters == 2_849_757_184
    # Keys and values of 32 heads of 64 in 2 bytes, in 24 layers, for each token written and for each read.
    assert [(one.name, one.layers, one.token_values) for one in found.mixing] == [
        ("self attention", 24, 4096), ("cross attention", 24, 4096),
    ]  # fmt: skip
    assert kv_bytes(found, Request(2, 512)).value == 2 * 2 * 512 * 24 * 4096 * 2
    # Attention once in the encoder's layers, twice in the decoder's, gate, up and down in both.
    layer = 4 * 2048 * 2048
    assert found.linear == 24 * (3 * layer + 2 * 3 * 2048 * 5120)
    assert read(FLAN_T5_XL, tie_word_embeddings=True).parameters == found.parameters - 32128 * 2048
    assert read(BART_LARGE).parameters == 406_291_456


def test_an_encoder_with_a_decoder_has_no_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FLAN_T5_XL), "utf-8")
    assert main(["fit", str(path), "--gpu", "l4", "--context", "512", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["fits"], document["speed"]) == (True, {})
    assert any("no times are computed for an encoder with a decoder" in note for note in document["notes"])
    told = fit(read(FLAN_T5_XL), stored_as("q4_0"), hardware("server-zen4"), Request(1, 512)).warnings
    assert "this engine, which CPUs are planned with, runs no encoder with a decoder yet" in told


@pytest.mark.parametrize("name", ["T5EncoderModel", "T5ForQuestionAnswering", "LongT5ForConditionalGeneration"])
def test_other_models_with_an_encoder_stay_refused(name: str):
    with pytest.raises(UnsupportedModel, match="no model that reads and writes with one decoder"):
        read(FLAN_T5_XL, architectures=[name])


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (RECURRENT_GEMMA_2B, {"lru_width": 2561}, "lru_width of 2561 cannot be shared out among 10"),
        (RECURRENT_GEMMA_2B, {"block_types": ["gated"]}, "cannot size layers of 'gated'"),
        (RECURRENT_GEMMA_2B, {"block_types": "recurrent"}, "block_types"),
        (ZAMBA2_7B, {"layers_block_type": None}, "lacks layers_block_type"),
        (ZAMBA2_7B, {"n_mamba_heads": 113}, "the width of Mamba of 7168 cannot be shared out among 113"),
        (ZAMBA2_7B, {"layers_block_type": ["full_attention"] * 81}, "a layer of kind full among shared ones"),
        (ZAMBA2_7B, {"num_mem_blocks": 0}, "num_mem_blocks is 0"),
        (DEEPSEEK_V4_FLASH, {"compress_ratios": [4]}, "layer_types lists 1 of 43 layers"),
        (DEEPSEEK_V4_FLASH, {"compress_ratios": [5] * 43}, "cannot size layers of 'compression by 5'"),
        (DEEPSEEK_V4_FLASH, {"compress_rates": {"compressed_sparse_attention": 0}}, "is 0; expected 1 to"),
        (DEEPSEEK_V4_FLASH, {"o_lora_rank": None}, "lacks o_lora_rank"),
        (ZAMBA_7B, {"attn_layer_period": 0}, "attn_layer_period is 0"),
        (RWKV_4_7B, {"attention_hidden_size": -1}, "attention_hidden_size is -1"),
        (FLAN_T5_XL, {"d_kv": None}, "lacks d_kv"),
        (FLAN_T5_XL, {"num_decoder_layers": 0}, "num_decoder_layers is 0"),
        (BART_LARGE, {"decoder_attention_heads": 15}, "the width of attention of 1024 cannot be shared out among 15"),
        (BART_LARGE, {"max_position_embeddings": None}, "lacks max_position_embeddings"),
    ],
)
def test_what_these_families_leave_out_is_refused_by_name(config: dict[str, Any], change: dict[str, Any], message: str):
    with pytest.raises(WayraError, match=message):
        read(config, **change)
