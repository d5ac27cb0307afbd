"""ModelSpec from GGUF metadata: the keys, what only the tensors tell, and hostile values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.rope import rope_frequencies
from wayra.model.spec_gguf import spec_from_gguf

LLAMA: dict[str, object] = {
    "general.architecture": "llama", "general.name": "Tiny", "llama.block_count": 3, "llama.embedding_length": 64,
    "llama.feed_forward_length": 96, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
    "llama.context_length": 512, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 5e5,
    "llama.rope.dimension_count": 16, "llama.vocab_size": 100, "tokenizer.ggml.tokens": ["a"] * 90,
    "general.file_type": 2,
}  # fmt: skip
QWEN2 = {key.replace("llama.", "qwen2."): value for key, value in LLAMA.items()} | {"general.architecture": "qwen2"}


def without(base: dict[str, object], *keys: str) -> dict[str, object]:
    return {key: value for key, value in base.items() if key not in keys}


def test_llama_numbers_are_read() -> None:
    spec = spec_from_gguf(LLAMA)
    assert (spec.family, spec.name) == ("llama", "Tiny")
    assert (spec.num_layers, spec.hidden_size, spec.num_heads, spec.num_kv_heads) == (3, 64, 4, 2)
    assert (spec.head_dim, spec.ffn_size, spec.vocab_size, spec.context_len) == (16, 96, 100, 512)
    assert (spec.norm_eps, spec.rope.theta, spec.rope.rotary_dim, spec.rope.scaling) == (1e-5, 5e5, 16, "none")
    assert not spec.attention_bias


def test_absent_keys_take_their_defaults() -> None:
    spec = spec_from_gguf(
        without(LLAMA, "llama.attention.head_count_kv", "llama.rope.freq_base", "llama.rope.dimension_count",
                "llama.vocab_size", "general.name")
    )  # fmt: skip
    assert (spec.num_kv_heads, spec.rope.theta, spec.rope.rotary_dim, spec.vocab_size) == (4, 1e4, 16, 90)
    assert spec.name == "llama"
    with pytest.raises(FileFormatError, match="tokens"):
        spec_from_gguf(without(LLAMA, "llama.vocab_size", "tokenizer.ggml.tokens"))


def test_tensors_tell_ties_biases_and_vocabulary() -> None:
    shapes = {"token_embd.weight": (104, 64), "blk.0.attn_q.bias": (64,), "blk.0.ffn_down.bias": (64,)}
    spec = spec_from_gguf(LLAMA, tensor_shapes=shapes)
    assert (spec.vocab_size, spec.tied_embeddings) == (104, True)
    assert (spec.attention_bias, spec.output_bias, spec.mlp_bias) == (True, False, True)
    untied = spec_from_gguf(LLAMA, tensor_shapes={"output.weight": (100, 64), "blk.0.attn_output.bias": (64,)})
    assert (untied.tied_embeddings, untied.output_bias, untied.mlp_bias) == (False, True, False)


def test_qwen2_always_has_attention_biases() -> None:
    spec = spec_from_gguf(QWEN2)
    assert spec.attention_bias
    assert not spec.output_bias


def test_key_length_and_partial_rotation_are_followed() -> None:
    spec = spec_from_gguf({**LLAMA, "llama.attention.key_length": 20, "llama.attention.value_length": 20})
    assert (spec.head_dim, spec.rope.rotary_dim) == (20, 16)
    with pytest.raises(UnsupportedModel, match="values of 24"):
        spec_from_gguf({**LLAMA, "llama.attention.value_length": 24})
    with pytest.raises(FileFormatError, match="rotates 32"):
        spec_from_gguf({**LLAMA, "llama.rope.dimension_count": 32})


def test_numbers_listed_layer_by_layer_must_be_equal() -> None:
    assert spec_from_gguf({**LLAMA, "llama.feed_forward_length": [96, 96, 96]}).ffn_size == 96
    with pytest.raises(UnsupportedModel, match="differs"):
        spec_from_gguf({**LLAMA, "llama.attention.head_count_kv": [2, 4, 2]})
    with pytest.raises(FileFormatError, match="lists 2 layers of 3"):
        spec_from_gguf({**LLAMA, "llama.attention.head_count_kv": [2, 2]})


def test_linear_scaling_comes_from_either_key() -> None:
    scaled = {**LLAMA, "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    assert (spec_from_gguf(scaled).rope.scaling, spec_from_gguf(scaled).rope.factor) == ("linear", 4.0)
    assert spec_from_gguf({**LLAMA, "llama.rope.scale_linear": 2.0}).rope.factor == 2.0
    assert spec_from_gguf({**scaled, "llama.rope.scaling.type": "none"}).rope.scaling == "none"


def test_yarn_multiplies_the_files_factor_onto_the_derived_one() -> None:
    yarn = {
        **LLAMA, "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 512, "llama.rope.scaling.yarn_beta_fast": 16.0,
    }  # fmt: skip
    spec = spec_from_gguf(yarn)
    assert (spec.context_len, spec.rope.original_context_len, spec.rope.beta_fast) == (2048, 512, 16.0)
    assert spec.rope.attention_factor is None
    on_top = spec_from_gguf({**yarn, "llama.rope.scaling.attn_factor": 0.5}).rope.attention_factor
    assert on_top == pytest.approx(0.5 * (0.1 * math.log(4) + 1))


@pytest.mark.parametrize(
    "changed",
    [
        {"general.architecture": "mamba"},
        {"llama.expert_count": 8},
        {"llama.attn_logit_softcapping": 50.0},
        {"llama.logit_scale": 0.25},
        {"llama.attention.clamp_kqv": 8.0},
        {"llama.attention.causal": False},
        {"llama.attention.scale": 0.125},
        {"llama.rope.scaling.type": "longrope"},
        {"llama.rope.dimension_sections": [8, 8]},
    ],
    ids=str,
)
def test_keys_that_change_the_maths_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel):
        spec_from_gguf({**LLAMA, **changed})


@pytest.mark.parametrize("harmless", [{"llama.expert_count": 0}, {"llama.attention.scale": 0.25}, {"x.y": object()}])
def test_keys_that_change_nothing_are_ignored(harmless: dict[str, object]) -> None:
    assert spec_from_gguf({**LLAMA, **harmless}) == spec_from_gguf(LLAMA)


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
_EXTRA = ["llama.attention.key_length", "llama.attention.sliding_window", "llama.rope.scaling.factor",
          "llama.rope.scaling.type", "llama.rope.scaling.original_context_length", "llama.rope.scaling.attn_factor",
          "llama.attention.scale"]  # fmt: skip


@given(
    changes=st.dictionaries(st.sampled_from([*LLAMA, *_EXTRA]), _VALUES | st.lists(_VALUES, max_size=3), max_size=4),
    scaling=st.sampled_from(["yarn", "linear", "none"]),
)
def test_no_metadata_escapes_as_another_exception(changes: dict[str, object], scaling: str) -> None:
    try:
        spec = spec_from_gguf({**LLAMA, "llama.rope.scaling.type": scaling, **changes})
    except (FileFormatError, UnsupportedModel) as error:
        message = str(error)
    else:
        assert np.isfinite(rope_frequencies(spec.rope, spec.context_len)[0]).all()
        message = f"sound: {spec.num_heads % spec.num_kv_heads} heads left over"
    assert 10 < len(message) < 400
    assert "sound" not in message or " 0 heads" in message
