"""ModelSpec from config.json: what each architecture means, and that hostile values give one clear error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.rope import rope_frequencies
from wayra.model.spec_hf import spec_from_hf

LLAMA: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "hidden_act": "silu",
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "initializer_range": 0.02, "pretraining_tp": 1,
    "rope_scaling": None, "use_cache": True, "eos_token_id": [1, 2],
}  # fmt: skip
MISTRAL = {**LLAMA, "architectures": ["MistralForCausalLM"], "sliding_window": 40}
QWEN2 = {
    **LLAMA, "architectures": ["Qwen2ForCausalLM"], "sliding_window": 40, "use_sliding_window": False,
    "max_window_layers": 3,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}


def kind_of(value: object) -> str:
    """A short test id: the largest integers here cannot be printed."""
    return f"{type(value).__name__}-{'huge' if isinstance(value, int) and value > 1 << 64 else value}"


def test_llama_numbers_are_read() -> None:
    spec = spec_from_hf(LLAMA)
    assert (spec.num_layers, spec.hidden_size, spec.num_heads, spec.num_kv_heads) == (4, 64, 4, 2)
    assert (spec.head_dim, spec.ffn_size, spec.vocab_size, spec.context_len) == (16, 96, 100, 512)
    assert (spec.norm_eps, spec.rope.theta, spec.rope.rotary_dim, spec.rope.scaling) == (1e-5, 5e5, 16, "none")
    assert (spec.tied_embeddings, spec.attention_bias, spec.output_bias, spec.mlp_bias) == (False,) * 4
    assert spec.sliding_window is None


def test_llama_biases_include_the_output_projection() -> None:
    spec = spec_from_hf({**LLAMA, "attention_bias": True, "mlp_bias": True})
    assert spec.attention_bias
    assert spec.output_bias
    assert spec.mlp_bias


def test_absent_keys_take_the_defaults_of_the_architecture() -> None:
    needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    few = {key: LLAMA[key] for key in needed}
    llama = spec_from_hf({**few, "model_type": "llama"})
    assert (llama.num_kv_heads, llama.context_len, llama.norm_eps, llama.rope.theta) == (4, 2048, 1e-6, 1e4)
    mistral = spec_from_hf({**few, "model_type": "mistral", "num_key_value_heads": 2})
    assert (mistral.sliding_window, mistral.context_len) == (4096, 131072)
    qwen2 = spec_from_hf({**few, "model_type": "qwen2", "num_key_value_heads": 2})
    assert (qwen2.sliding_window, qwen2.context_len, qwen2.attention_bias) == (None, 32768, True)
    for key in needed:
        with pytest.raises(FileFormatError, match=key):
            spec_from_hf({**LLAMA, key: None})


def test_mistral_window_covers_all_layers_and_null_switches_it_off() -> None:
    spec = spec_from_hf(MISTRAL)
    assert [spec.window_of(i) for i in range(4)] == [40] * 4
    assert spec_from_hf({**MISTRAL, "sliding_window": None}).sliding_window is None


def test_qwen2_window_needs_its_switch_and_starts_at_max_window_layers() -> None:
    assert spec_from_hf(QWEN2).sliding_window is None
    spec = spec_from_hf({**QWEN2, "use_sliding_window": True})
    assert [spec.window_of(i) for i in range(4)] == [None, None, None, 40]
    assert spec_from_hf({**QWEN2, "use_sliding_window": True, "max_window_layers": 4}).sliding_window is None
    everywhere = spec_from_hf({**QWEN2, "use_sliding_window": True, "max_window_layers": 0})
    assert [everywhere.window_of(i) for i in range(4)] == [40] * 4


def test_layer_types_override_max_window_layers() -> None:
    types = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    spec = spec_from_hf({**QWEN2, "use_sliding_window": True, "layer_types": types})
    assert [spec.window_of(i) for i in range(4)] == [40, None, 40, None]
    with pytest.raises(UnsupportedModel, match="chunked"):
        spec_from_hf({**QWEN2, "use_sliding_window": True, "layer_types": ["chunked_attention"] * 4})
    with pytest.raises(FileFormatError, match="layer_types"):
        spec_from_hf({**QWEN2, "use_sliding_window": True, "layer_types": types[:3]})
    with pytest.raises(UnsupportedModel, match="mixes"):
        spec_from_hf({**MISTRAL, "layer_types": types})


@pytest.mark.parametrize("kind_key", ["rope_type", "type"])
def test_old_and_new_rope_keys_mean_the_same(kind_key: str) -> None:
    scaling = {
        kind_key: "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }  # fmt: skip
    old = spec_from_hf({**LLAMA, "rope_scaling": scaling})
    new = {key: value for key, value in LLAMA.items() if not key.startswith("rope_")}
    assert spec_from_hf({**new, "rope_parameters": {**scaling, "rope_theta": 5e5}}) == old
    assert (old.rope.scaling, old.rope.factor, old.rope.original_context_len) == ("llama3", 8.0, 256)


def test_yarn_extends_the_context_and_derives_its_factor() -> None:
    spec = spec_from_hf({**LLAMA, "rope_scaling": YARN})
    assert (spec.context_len, spec.rope.factor, spec.rope.original_context_len) == (2048, 4.0, 512)
    derived = spec_from_hf({**LLAMA, "max_position_embeddings": 1536, "rope_scaling": {**YARN, "factor": None}})
    assert (derived.context_len, derived.rope.factor) == (1536, 3.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"architectures": ["MixtralForCausalLM"]},
        {"architectures": None, "model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"logit_scale": 0.5},
        {"attn_logit_softcapping": 50.0},
        {"final_logit_softcapping": 30.0},
        {"num_local_experts": 8},
        {"num_experts": 2},
        {"clip_qkv": 8.0},
        {"embedding_multiplier": 12.0},
        {"partial_rotary_factor": 0.5},
        {"quantization_config": {"quant_method": "gptq"}},
        {"use_qk_norm": True},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}},
        {"rope_scaling": {**YARN, "mrope_section": [1]}},
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
    ],
    ids=str,
)
def test_keys_that_change_the_maths_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel):
        spec_from_hf({**LLAMA, **changed})


@pytest.mark.parametrize(
    "harmless",
    [{"logit_scale": 1.0}, {"num_experts": 0}, {"clip_qkv": None}, {"attn_logit_softcapping": None},
     {"attention_dropout": 0.1}, {"sliding_window": 100}, {"partial_rotary_factor": 1.0}, {"favourite_colour": "blue"}],
    ids=str,
)  # fmt: skip
def test_keys_that_change_nothing_are_ignored(harmless: dict[str, object]) -> None:
    assert spec_from_hf({**LLAMA, **harmless}) == spec_from_hf(LLAMA)


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                                 "intermediate_size", "vocab_size", "max_position_embeddings"])  # fmt: skip
@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True, [8], {}, 10**5000, float("nan"), 1 << 40], ids=kind_of)
def test_sizes_of_a_wrong_kind_or_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(FileFormatError):
        spec_from_hf({**LLAMA, "head_dim": 16, key: value})


def test_the_allowed_range_of_a_size_is_written_out() -> None:
    with pytest.raises(FileFormatError, match=r"hidden size is 1,000,000,000; expected 1 to 1,048,576$"):
        spec_from_hf({**LLAMA, "head_dim": 16, "hidden_size": 10**9})


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 10**400, "1e-5", True, []], ids=kind_of)
def test_numbers_of_a_wrong_kind_or_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(FileFormatError):
        spec_from_hf({**LLAMA, key: value})


def test_sizes_at_odds_with_each_other_are_refused() -> None:
    with pytest.raises(FileFormatError, match="not a multiple"):
        spec_from_hf({**LLAMA, "hidden_size": 66})
    with pytest.raises(FileFormatError, match="cannot share"):
        spec_from_hf({**LLAMA, "num_key_value_heads": 3})
    with pytest.raises(FileFormatError, match="even"):
        spec_from_hf({**LLAMA, "head_dim": 15})


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
_ROPE = st.dictionaries(
    st.sampled_from(["rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "beta_fast",
                     "low_freq_factor", "high_freq_factor", "attention_factor", "mscale", "truncate"]),
    _VALUES | st.sampled_from(["yarn", "llama3", "linear"]),
)  # fmt: skip
_KEYS = st.sampled_from(
    [*LLAMA, "head_dim", "sliding_window", "layer_types", "use_sliding_window", "max_window_layers"]
)


@given(base=st.sampled_from([LLAMA, MISTRAL, QWEN2]), changes=st.dictionaries(_KEYS, _VALUES, max_size=3), rope=_ROPE)
def test_no_config_escapes_as_another_exception(
    base: dict[str, object], changes: dict[str, object], rope: dict[str, object]
) -> None:
    try:
        spec = spec_from_hf({**base, "rope_scaling": rope, **changes})
    except (FileFormatError, UnsupportedModel) as error:
        message = str(error)
    else:
        assert np.isfinite(rope_frequencies(spec.rope, spec.context_len)[0]).all()
        message = f"sound: {spec.num_heads % spec.num_kv_heads} heads left over"
    assert 10 < len(message) < 400
    assert "sound" not in message or " 0 heads" in message
