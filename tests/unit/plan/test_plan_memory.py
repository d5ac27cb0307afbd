"""Memory of models by hand: every expected number stands with its working."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wayra.base.errors import FileFormatError, InvalidParameter, ModelNotFound, UnsupportedModel
from wayra.plan import serving
from wayra.plan.hardware import hardware
from wayra.plan.memory import Buffers, Request, activation_bytes, buffers_of, fit, kv_bytes, weights_bytes
from wayra.plan.models import architecture, architectures
from wayra.plan.quantity import explain
from wayra.plan.reading import describe, from_config
from wayra.plan.stored import kv_bits, stored_as
from wayra.weights.sources.aliases import ALIASES

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip


def test_parameters_of_llama_31_are_those_of_their_cards() -> None:
    # 8B: embedding 128256 * 4096 = 525,336,576, twice; a layer: q, o 2 * 4096 * 4096 + k, v 2 * 4096 * 1024
    # + 3 * 4096 * 14336 = 218,103,808; norms 2 * 4096 a layer and 4096.
    assert architecture("llama3.1:8b").parameters == 2 * 525_336_576 + 32 * (218_103_808 + 8192) + 4096 == 8_030_261_248
    # A layer of 70B: 2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672 = 855,638,016.
    assert architecture("llama3.1:70b").parameters == 2 * 1_050_673_152 + 80 * (855_638_016 + 16384) + 8192
    # A layer of 405B: 2 * 16384 * 16384 + 2 * 16384 * 1024 + 3 * 16384 * 53248 = 3,187,671,040.
    assert architecture("llama3.1:405b").parameters == 2 * 2_101_346_304 + 126 * (3_187_671_040 + 32768) + 16384


@pytest.mark.parametrize(
    ("name", "fmt", "expected"),
    [
        # 8,030,261,248 parameters of 2 bytes.
        ("llama-3.1-8b", "bf16", 16_060_522_496),
        # Projections 32 * 218,103,808 = 6,979,321,856 of 1 byte; tables 2 * 525,336,576 and 266,240 norms of 2.
        ("llama-3.1-8b", "fp8", 6_979_321_856 + 2 * (1_050_673_152 + 266_240)),
        # 4 + 16/128 + 4/128 = 4.15625 bit a projection's weight.
        ("llama-3.1-8b", "awq-int4", 6_979_321_856 * 4.15625 / 8 + 2 * (1_050_673_152 + 266_240)),
        # All matrices in 34 bytes a block of 32, norms in 4 bytes: the file is 8.54 GB.
        ("llama-3.1-8b", "q8_0", (6_979_321_856 + 1_050_673_152) * 34 / 32 + 4 * 266_240),
        ("llama-3.1-70b", "bf16", 2 * 70_553_706_496),
        ("llama-3.1-70b", "fp8", 80 * 855_638_016 + 2 * (2_101_346_304 + 1_318_912)),
        ("llama-3.1-70b", "q4_0", (80 * 855_638_016 + 2_101_346_304) * 18 / 32 + 4 * 1_318_912),
        ("llama-3.1-405b", "bf16", 2 * 405_853_388_800),
        ("llama-3.1-405b", "fp8", 126 * 3_187_671_040 + 2 * (4_202_692_608 + 4_145_152)),
        ("llama-3.1-405b", "nvfp4", 126 * 3_187_671_040 * 4.5 / 8 + 2 * (4_202_692_608 + 4_145_152)),
    ],
)
def test_weights_are_counted_at_their_real_bits(name: str, fmt: str, expected: float) -> None:
    assert weights_bytes(architecture(name), stored_as(fmt)).value == pytest.approx(expected, rel=1e-12)


def test_mixed_four_bit_format_is_as_large_as_published_files() -> None:
    # Llama 3.1 8B in Q4_K_M is 4.92 GB, as published.
    assert weights_bytes(architecture("llama3.1:8b"), stored_as("q4_k_m")).value == pytest.approx(4.92e9, rel=0.02)


@pytest.mark.parametrize(
    ("name", "a_token", "at_128k_gib"),
    [
        ("llama-3.1-8b", 2 * 32 * 8 * 128 * 2, 16.0),
        ("llama-3.1-70b", 2 * 80 * 8 * 128 * 2, 40.0),
        ("llama-3.1-405b", 2 * 126 * 8 * 128 * 2, 63.0),
    ],
)
def test_kv_cache_at_128k(name: str, a_token: int, at_128k_gib: float) -> None:
    kv = kv_bytes(architecture(name), Request(1, 131_072))
    assert kv.value == a_token * 131_072 == at_128k_gib * 2**30
    assert kv_bytes(architecture(name), Request(3, 131_072, kv_bits("fp8"))).value == 3 * kv.value / 2


def test_chunked_layers_keep_one_chunk() -> None:
    # 12 of 48 layers keep all 131,072 tokens, 36 keep 8,192; 2 * 8 * 128 values of 2 bytes a token and layer.
    kv = kv_bytes(architecture("llama-4-scout"), Request(1, 131_072))
    assert kv.value == (12 * 131_072 + 36 * 8192) * 2 * 8 * 128 * 2


def test_sliding_window_bounds_the_cache() -> None:
    # All 32 layers of Mistral 7B v0.1 keep 4,096 tokens: 2 * 32 * 8 * 128 * 2 bytes each.
    assert kv_bytes(architecture("mistral-7b"), Request(1, 32_768)).value == 4096 * 131_072


def test_every_short_name_of_the_engine_is_a_shape_of_its_size() -> None:
    for name, alias in ALIASES.items():
        assert describe(name).model.parameters == alias.parameters, name


def test_the_hypothetical_model_of_an_article_is_what_it_says() -> None:
    # Llama 3.1 405B with its MLPs of 53,248 cut into 64 experts of 832, 4 at work, and routers of 126 * 64 * 16384.
    model = architecture("llama-4-405b")
    assert model.parameters == architecture("llama-3.1-405b").parameters + 126 * 64 * 16384
    # Attention 126 * 570,425,344, a sixteenth of the MLPs' 126 * 2,617,245,696, tables, norms and routers.
    mlps = 126 * 2_617_245_696 // 16
    assert model.active_parameters == 126 * 570_425_344 + mlps + 2 * 2_101_346_304 + 4_145_152 + 126 * 64 * 16384


def test_this_engine_keeps_what_a_window_has_passed() -> None:
    # On a CPU all 32 layers of Mistral 7B v0.1 keep 32,768 tokens; cards' engines free what is behind 4,096.
    asked = Request(1, 32_768)
    on_cpu = fit(architecture("mistral-7b"), stored_as("q4_0"), hardware("server-zen4"), asked)
    on_card = fit(architecture("mistral-7b"), stored_as("awq-int4"), hardware("h100"), asked)
    assert on_cpu.kv.value == 32_768 * 131_072
    assert on_card.kv.value == 4096 * 131_072
    machine = serving.Machine(architecture("mistral-7b"), hardware("server-zen4"), 1, stored_as("q4_k_m"))
    assert serving.kv_bytes_per_sequence(machine, 32_768) == 32_768 * 131_072


def test_contexts_are_rounded_up_to_blocks() -> None:
    assert kv_bytes(architecture("llama-3.1-8b"), Request(2, 17), block_len=16).value == 2 * 32 * 131_072


def test_sparse_models_hold_all_experts_and_use_a_few() -> None:
    scout, maverick = architecture("llama-4-scout"), architecture("llama-4-maverick")
    # The text model of Scout: 48 layers of 17 MLPs (one shared) of 3 * 5120 * 8192, attention 48 * 62,914,560.
    assert scout.linear == 48 * (17 * 125_829_120 + 62_914_560)
    assert round(scout.parameters / 1e9) == 108
    assert round(maverick.parameters / 1e9) == 401
    assert round(scout.active_parameters / 1e9) == round(maverick.active_parameters / 1e9) == 17
    assert round(architecture("mixtral-8x7b").active_parameters / 1e9, 1) == 12.9


def test_expected_experts_of_a_batch() -> None:
    mixtral = architecture("mixtral-8x7b")
    assert mixtral.experts_touched(1) == pytest.approx(2)
    # Two tokens leave an expert out with probability (6/8)^2: 8 * (1 - 9/16) = 3.5.
    assert mixtral.experts_touched(2) == pytest.approx(3.5)
    assert mixtral.experts_touched(1000) == pytest.approx(8)


def test_fewest_cards_are_found_and_said_why() -> None:
    found = fit(architecture("llama-3.1-405b"), stored_as("bf16"), hardware("h100"), Request(1, 8192))
    # 812 GB of weights: 8 cards offer 8 * 85.9 * 0.9 = 618 GB, 16 offer 1,237 GB.
    assert found.gpus == 16
    assert "the weights alone take 811.7 GB, 8 x NVIDIA H100 SXM 80 GB offers 618.5 GB" in found.why_not_fewer
    assert fit(architecture("llama-3.1-405b"), stored_as("bf16"), hardware("rtx4090"), Request(1, 8192), 8).gpus is None


def test_largest_context_and_batch_are_the_borders() -> None:
    model, fmt, card = architecture("llama-3.1-8b"), stored_as("bf16"), hardware("l40s")
    found = fit(model, fmt, card, Request(8, 8192), 1)
    assert fit(model, fmt, card, Request(8, found.max_context), 1).fits
    assert not fit(model, fmt, card, Request(8, found.max_context + 16), 1).fits
    assert fit(model, fmt, card, Request(found.max_batch, 8192), 1).fits
    assert not fit(model, fmt, card, Request(found.max_batch + 1, 8192), 1).fits


def test_nothing_fits_where_the_weights_do_not() -> None:
    found = fit(architecture("llama-3.1-70b"), stored_as("bf16"), hardware("rtx4090"), Request(1, 8192), 1)
    assert (found.gpus, found.max_context, found.max_batch) == (None, 0, 0)


def test_activations_of_a_step() -> None:
    # 512 tokens * (3 * 4096 + 2 * 4096 + 2 * 1024 + 3 * 14336) * 4 bytes, and logits 2 * 128256 * 4.
    found = activation_bytes(architecture("llama-3.1-8b"), Request(2, 8192), Buffers(512, 4, 3, "here"))
    assert found.value == 512 * 65_536 * 4 + 2 * 128_256 * 4


def test_gate_and_up_of_a_few_tokens_are_held_at_once_on_cpus() -> None:
    # 512 tokens * (3 * 4096 + 2 * 4096 + 2 * 1024 + 2 * 14336) and 128 * 2 * 14336 values of 4 bytes, and the logits.
    made = Buffers(512, 4, 2, "here", gate_rows=128)
    found = activation_bytes(architecture("llama-3.1-8b"), Request(2, 8192), made)
    assert found.value == (512 * 51_200 + 128 * 28_672) * 4 + 2 * 128_256 * 4
    few = activation_bytes(architecture("llama-3.1-8b"), Request(1, 16), made)
    assert few.value == (16 * 51_200 + 16 * 28_672) * 4 + 128_256 * 4
    two_cores = replace(hardware("h100"), kind="cpu", cores=2)
    assert (buffers_of(two_cores).gate_rows, buffers_of(replace(two_cores, cores=96)).gate_rows) == (128, 512)


def test_every_number_explains_itself() -> None:
    lines = explain(fit(architecture("llama-3.1-8b"), stored_as("fp8"), hardware("h100"), Request(1, 8192)).total)
    assert lines[0].startswith("total_bytes")
    assert any("linear_bits = 8 bit" in line for line in lines)


def test_config_describes_the_shipped_model() -> None:
    read = from_config(LLAMA_8B, name="llama-3.1-8b", source="config.json")
    assert read.parameters == 8_030_261_248
    assert read.kept_bytes(1, 16) == architecture("llama-3.1-8b").kept_bytes(1, 16) == 131_072


def test_config_of_llama_4_is_read_from_its_text_part() -> None:
    text = {
        **LLAMA_8B, "model_type": "llama4_text", "num_hidden_layers": 48, "hidden_size": 5120,
        "num_attention_heads": 40, "head_dim": 128, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
        "num_local_experts": 128, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2,
        "attention_chunk_size": 8192, "vocab_size": 202048,
    }  # fmt: skip
    config = {"architectures": ["Llama4ForConditionalGeneration"], "text_config": text}
    maverick = architecture("llama-4-maverick")
    read = from_config(config, name="m", source="config.json")
    assert read.parameters == maverick.parameters
    assert read.kept_bytes(100_000, 16) == maverick.kept_bytes(100_000, 16)
    assert [(one.layers, one.window) for one in read.mixing if one.chunked] == [(36, 8192)]


def test_gguf_is_counted_by_its_own_tensors(smollm2_path: Path) -> None:
    found = describe(str(smollm2_path))
    assert found.stored is not None
    assert found.model.parameters == architecture("smollm2").parameters
    # The file holds the tensors and about 3 MB of tokenizer; rotary frequencies are ours.
    taken = weights_bytes(found.model, found.stored).value
    assert 0 < smollm2_path.stat().st_size - taken < 4e6


@pytest.mark.parametrize("missing", ["num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size"])
def test_config_with_a_missing_field_is_refused_by_name(missing: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: value for key, value in LLAMA_8B.items() if key != missing}))
    with pytest.raises(FileFormatError, match=missing):
        describe(str(path))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"num_attention_heads": 0}, FileFormatError),
        ({"num_key_value_heads": 5}, FileFormatError),
        ({"num_hidden_layers": -1}, FileFormatError),
        ({"hidden_size": 10**12}, FileFormatError),
        ({"vocab_size": "many"}, FileFormatError),
        ({"architectures": ["DeepseekV3ForCausalLM"]}, FileFormatError),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, FileFormatError),
        ({"architectures": ["LongT5ForConditionalGeneration"], "is_encoder_decoder": True}, UnsupportedModel),
    ],
)
def test_absurd_configs_are_refused(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        from_config({**LLAMA_8B, **change}, name="m", source="config.json")


def test_unknown_names_offer_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"llama-3\.1-8b"):
        describe("llama-3.1-9b")
    with pytest.raises(InvalidParameter, match="h100"):
        hardware("h101")
    with pytest.raises(InvalidParameter, match="q4_0"):
        stored_as("q4_9")
    with pytest.raises(InvalidParameter, match="KV type"):
        kv_bits("fp3")
    with pytest.raises(InvalidParameter, match="empty"):
        describe(" ")
    for content in ("", "[]", "{", "[" * 100_000):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(FileFormatError):
            describe(str(tmp_path / "config.json"))
    with pytest.raises(ModelNotFound):
        describe(str(tmp_path / "none.gguf"))


def test_absurd_requests_are_refused() -> None:
    for batch, context in ((0, 1), (-1, 1), (1, 0), (1 << 40, 1), (1, 1 << 50)):
        with pytest.raises(InvalidParameter):
            Request(batch, context)
    for gpus in (0, -1, 10**6):
        with pytest.raises(InvalidParameter):
            fit(architecture("llama3"), stored_as("bf16"), hardware("h100"), Request(1, 1), gpus)
    with pytest.raises(InvalidParameter, match="cannot share"):
        fit(architecture("llama3"), stored_as("bf16"), hardware("m4-max"), Request(1, 1), 2)


def test_beyond_the_models_context_is_a_warning() -> None:
    found = fit(architecture("llama-3-8b"), stored_as("bf16"), hardware("h100"), Request(1, 16_384))
    assert any("made for 8,192 tokens" in text for text in found.warnings)


def test_shipped_shapes_are_sound_and_dated() -> None:
    for model in architectures():
        assert "" not in (model.source, model.as_of), model.name
        assert replace(model).parameters > model.linear > 0
        assert "does not know" not in model.note


def test_more_cards_than_needed_are_told_so() -> None:
    def told(gpus: int | None) -> str:
        return fit(
            architecture("llama-3.1-8b"), stored_as("bf16"), hardware("h100"), Request(1, 8192), gpus
        ).why_not_fewer

    assert (told(2), told(8), told(None)) == ("1 would do", "1 would do", "one is enough")
    large = fit(architecture("llama-3.1-70b"), stored_as("bf16"), hardware("h100"), Request(1, 8192), 8)
    assert large.why_not_fewer == "2 would do"
