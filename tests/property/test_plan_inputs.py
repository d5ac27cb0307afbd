"""Whatever a user writes into the planner's files, an answer or one of our errors comes out; its arithmetic holds."""

import contextlib
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wayra.base.errors import WayraError
from wayra.plan import cost
from wayra.plan.claims.check import check_claims
from wayra.plan.claims.claim import parse_claims
from wayra.plan.claims.functions import functions
from wayra.plan.claims.language import derive
from wayra.plan.constants import default_constants
from wayra.plan.expression import evaluate
from wayra.plan.hardware import hardware
from wayra.plan.memory import Fit, Request, fit
from wayra.plan.models import Architecture
from wayra.plan.prices.table import PriceTable, parse_prices
from wayra.plan.quantity import given as given_quantity
from wayra.plan.reading import describe, from_config
from wayra.plan.roofline import Deployment, Load, decode_terms, prefill_terms, speed
from wayra.plan.stored import stored_as
from wayra.plan.workload import Workload, workload_of

TODAY = date(2026, 11, 21)
SYMBOLS = "abA01.5+-*/()[]{}'\",:=<> \n_lambdaeimportw"
WORDS = [
    "A1", "1", "2.5", "'llama-3.1-8b'", '"h100-pcie"', "weights_gb", "fact", "low", "high", "delta_low", "mean", "min",
    "(", ")", ",", "+", "*", "**", "/", " .. ", "bits=", "[", "]", ".", "'", "None", "True", "lambda", ":", "1e308",
]  # fmt: skip
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
KEYS = [
    "traffic", "input_tokens", "output_tokens", "requests_per_month", "limits", "latency_p95_s", "context", "rules",
    "privacy", "quality", "mmlu", "budget", "have", "rtx4090", "route", "share", "fine_tuning", "examples", "owning",
    "years", "choice", "models", "name", "peak_factor",
]  # fmt: skip


SHAPE = {
    "num_hidden_layers": 8, "hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000,
    "intermediate_size": 1024, "max_position_embeddings": 4096,
}  # fmt: skip
LATENT = {
    "kv_lora_rank": 64, "q_lora_rank": 96, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "index_n_heads": 4, "index_head_dim": 32, "index_topk": 64,
}  # fmt: skip
SPARSE = {
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "mlp_layer_types": None, "shared_expert_intermediate_size": None,
}  # fmt: skip
STATES = {
    "layer_types": ["mamba", "attention"] * 4, "mamba_n_heads": 16, "mamba_d_head": 64, "mamba_n_groups": 1,
    "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip
DELTA = {
    "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 32, "linear_num_key_heads": 4,
    "linear_value_head_dim": 32, "linear_num_value_heads": 8,
}  # fmt: skip
WINDOWS = {
    "sliding_window": 128, "sliding_window_pattern": 6, "global_head_dim": None, "num_kv_shared_layers": 0,
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 64, "patch_size": 14, "image_size": 224},
}  # fmt: skip
SHARED = {
    "layers_block_type": ["mamba", "hybrid"] * 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
    "attention_head_dim": 128, "num_mem_blocks": 2, "adapter_rank": 8, "use_shared_attention_adapter": True,
}  # fmt: skip
BLOCK = {"attention": {"n_heads_in_group": 4, "no_op": False}, "ffn": {"ffn_mult": 1.0, "no_op": False}}
CONFIGS = [
    {**SHAPE, **LATENT, **SPARSE, "architectures": ["DeepseekV32ForCausalLM"]},
    {**SHAPE, **SPARSE, **STATES, "architectures": ["GraniteMoeHybridForCausalLM"]},
    {**SHAPE, **STATES, "layer_types": None, "hybrid_override_pattern": "M-*EM-*E", "n_routed_experts": 8,
     "num_experts_per_tok": 2, "architectures": ["NemotronHForCausalLM"]},
    {**SHAPE, **SPARSE, **DELTA, "architectures": ["Qwen3NextForCausalLM"]},
    {**SHAPE, **WINDOWS, "architectures": ["Gemma3ForConditionalGeneration"]},
    {**SHAPE, **WINDOWS, **SPARSE, "hidden_size_per_layer_input": 32, "vocab_size_per_layer_input": 1000,
     "enable_moe_block": True, "architectures": ["Gemma4ForConditionalGeneration"]},
    {**SHAPE, "conv_L_cache": 3, "full_attn_idxs": [1, 3], "architectures": ["Lfm2ForCausalLM"]},
    {**SHAPE, **SPARSE, "architectures": ["NextYearForCausalLM"]},
    {**SHAPE, **SPARSE, "architectures": ["DeepseekV4ForCausalLM"], "head_dim": 64, "q_lora_rank": 96, "o_groups": 4,
     "o_lora_rank": 32, "sliding_window": 128, "index_n_heads": 4, "index_head_dim": 32, "index_topk": 64, "hc_mult": 4,
     "compress_ratios": [128, 128, 4, 128, 4, 0, 4, 4], "compress_rates": None, "num_key_value_heads": 1},
    {**SHAPE, "lru_width": 512, "conv1d_width": 4, "attention_window_size": 128, "attention_bias": False,
     "block_types": ["recurrent", "attention"], "architectures": ["RecurrentGemmaForCausalLM"]},
    {**SHAPE, "attention_hidden_size": 512, "context_length": 1024, "architectures": ["RwkvForCausalLM"]},
    {**SHAPE, **SHARED, "n_mamba_heads": 16, "mamba_ngroups": 1, "architectures": ["Zamba2ForCausalLM"]},
    {**SHAPE, **SHARED, "layers_block_type": None, "attn_layer_period": 3, "attn_layer_offset": 1,
     "architectures": ["ZambaForCausalLM"]},
    {**SHAPE, "block_configs": [BLOCK] * 8, "mlp_bias": False, "architectures": ["DeciLMForCausalLM"]},
    {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_heads": 8, "num_layers": 4, "num_decoder_layers": 2,
     "vocab_size": 1000, "feed_forward_proj": "relu", "relative_attention_num_buckets": 32, "n_positions": 512,
     "tie_word_embeddings": True, "architectures": ["T5ForConditionalGeneration"]},
    {"d_model": 512, "encoder_layers": 4, "decoder_layers": 2, "encoder_attention_heads": 8, "vocab_size": 1000,
     "decoder_attention_heads": 4, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 512, "max_position_embeddings": 512,
     "is_encoder_decoder": True, "model_type": "bart"},
    {"architectures": ["Qwen3VLForConditionalGeneration"], "text_config": SHAPE, "vision_config": {"depth": 2}},
]  # fmt: skip


def sized(config: dict[str, object]) -> tuple[Architecture, Fit] | str:
    """What is found, or the sentence that refuses."""
    try:
        model = from_config(config, name="m", source="config.json")
        for name, fmt in (("h100", "fp8"), ("server-zen4", "q4_0")):
            machine = Deployment(model, stored_as(fmt), hardware(name))
            for terms in (decode_terms(machine, Load(2, 1000, 24)), prefill_terms(machine, 1000)):
                assert speed(terms, default_constants(machine.hardware.kind)).seconds > 0
        return model, fit(model, stored_as("bf16"), hardware("h100"), Request(2, 1024))
    except WayraError as error:
        return str(error)


@settings(max_examples=300)
@given(st.data())
def test_any_config_is_sized_or_refused_in_a_sentence(data: st.DataObject):
    config = data.draw(st.sampled_from(CONFIGS))
    wrong = data.draw(st.dictionaries(st.sampled_from(sorted(config)), STRANGE, min_size=1, max_size=3))
    answer = sized({**config, **wrong})
    if isinstance(answer, str):
        assert "\n" not in answer
        assert len(answer) < 400
        return
    model, found = answer
    assert model.parameters >= model.linear > 0
    assert found.total.value > found.weights.value > 0
    # Cards beyond the KV heads keep copies.
    cards = next(int(item.value) for item in found.usable.inputs if item.name == "gpus")
    assert found.kv.value == pytest.approx(2 * model.kept_on("gpu", cards).kept_bytes(1024, 16))
    assert found.kv.value >= 2 * model.kept_bytes(1024, 16)


def test_the_configs_that_are_made_wrong_are_right_themselves():
    for config in CONFIGS:
        assert from_config(config, name="m", source="config.json").parameters > 0


PARTS = [
    "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "attn_kv_a_mqa", "attn_q_b", "ssm_conv1d", "ssm_conv1d_q",
    "ssm_in", "ssm_a", "shortconv.conv", "ffn_gate", "ffn_up", "ffn_down", "ffn_gate_inp", "ffn_down_exps",
    "ffn_up_exps", "ffn_down_shexp", "attn_norm", "nextn.eh_proj",
]  # fmt: skip
HEADER_KEYS = [
    "block_count", "context_length", "embedding_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.kv_lora_rank", "ssm.conv_kernel", "ssm.inner_size",
    "ssm.state_size", "kda.head_dim", "expert_used_count",
]  # fmt: skip
DIMENSIONS = st.lists(st.sampled_from([1, 2, 4, 8, 32]), min_size=1, max_size=4)
HEADER_VALUES = st.sampled_from([-1, 0, 1, 2, 4, 8, 1 << 30])


@given(
    st.lists(st.dictionaries(st.sampled_from(PARTS), DIMENSIONS, max_size=6), min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(HEADER_KEYS), HEADER_VALUES | st.lists(HEADER_VALUES, min_size=1, max_size=2)),
)
def test_any_header_of_a_gguf_file_is_sized_or_refused_in_a_sentence(layers: list[dict], found: dict):
    keys = {"block_count": len(layers), "context_length": 64, "embedding_length": 8, "attention.head_count": 2, **found}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        writer = gguf.GGUFWriter(path, "odd")
        for key, value in keys.items():
            if isinstance(value, list):
                writer.add_array(f"odd.{key}", value)
            else:
                writer.add_int32(f"odd.{key}", value)
        writer.add_tensor("token_embd.weight", np.ones((16, 8), np.float32))
        for i, layer in enumerate(layers):
            for part, shape in layer.items():
                writer.add_tensor(f"blk.{i}.{part}.weight", np.ones(shape, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        try:
            described = describe(str(path))
        except WayraError as error:
            answer = str(error)
        else:
            answer = ""
            assert described.stored is not None
            assert described.model.kept_bytes(100, 16) >= 0
            assert fit(described.model, described.stored, hardware("h100"), Request(1, 64)).total.value > 0
    assert "\n" not in answer


@given(st.text(SYMBOLS, max_size=40))
def test_any_text_is_arithmetic_or_refused(text: str):
    with contextlib.suppress(WayraError):
        assert isinstance(evaluate(text, {"a": 1.0, "A": 2.0}), float)


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_any_derivation_has_a_value_or_is_refused(expression: str):
    claims = {
        claim.id: claim for claim in parse_claims("id,subject,metric,claimed,unit,check\nA1,s,m,3,x,external\n", "t")
    }
    try:
        found = derive(expression, "x", claims, functions(TODAY))
    except WayraError:
        return
    assert found.low is not None or found.words is not None


@given(st.text('A1,"\n;5.<>=-xyes', max_size=60))
def test_any_list_of_claims_is_judged_or_refused(rows: str):
    try:
        results = check_claims(
            parse_claims("id,subject,metric,claimed,unit,check,relation,derivation\n" + rows, "t"), prices_of=TODAY
        )
    except WayraError:
        return
    assert all(result.judgement.verdict for result in results)


@given(st.text('[]"=.rentapi gpuprice10\n{}', max_size=80))
def test_any_price_file_is_read_or_refused(text: str):
    with contextlib.suppress(WayraError):
        assert isinstance(parse_prices(text, "t"), PriceTable)


@settings(max_examples=200)
@given(
    st.recursive(
        STRANGE, lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=5) | st.lists(inner, max_size=2)
    )
)
def test_any_table_is_a_workload_or_refused(document: object):
    table = document if isinstance(document, dict) else {"traffic": document}
    base = {"traffic": {"input_tokens": 5, "output_tokens": 5, "requests_per_month": 10}}
    for candidate in (table, {**base, **table}):
        with contextlib.suppress(WayraError):
            assert isinstance(workload_of(candidate, "t"), Workload)


@given(
    st.floats(min_value=0.01, max_value=1e4),
    st.floats(min_value=1, max_value=1e6),
    st.floats(min_value=0.001, max_value=1e3),
)
def test_break_even_is_where_both_cost_the_same_and_never_otherwise(rent: float, speed: float, price: float):
    machine = cost.rent_usd_per_month(given_quantity("r", rent, "USD/h", ""), 1)
    capacity = cost.capacity_mtok_per_month(given_quantity("s", speed, "tok/s", ""), cost.utilisation(1.0))
    found = cost.break_even(machine, capacity, given_quantity("p", price, "USD/Mtok", ""))
    if found.volume is None:
        assert found.full_load_usd_per_mtok.value > price
    else:
        assert found.volume.value * price == pytest.approx(machine.value)
        assert found.volume.value <= capacity.value
    for point in found.curve:
        assert point.machines * capacity.value >= point.mtok_per_month * (1 - 1e-6)
        assert point.own_usd_per_month == pytest.approx(point.machines * machine.value)
