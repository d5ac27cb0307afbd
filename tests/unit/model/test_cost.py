"""The cost model against arithmetic done by hand."""

from dataclasses import replace

import pytest

from wayra.base.errors import InvalidParameter
from wayra.model.cost import cost, memory
from wayra.model.families import slots
from wayra.model.ops import visible_keys, visible_pairs
from wayra.model.record import record
from wayra.model.spec import ModelSpec, RopeSpec

SPEC = ModelSpec(
    family="llama", name="tiny", num_layers=2, hidden_size=8, num_heads=4, num_kv_heads=2, head_dim=4, ffn_size=12,
    vocab_size=20, context_len=64, norm_eps=1e-5, rope=RopeSpec(1e4, 4), tied_embeddings=True,
)  # fmt: skip
# Weights of a layer's matrices: qkv 32 x 8, o 8 x 16, gate_up 24 x 8, down 8 x 12.
LAYER_WEIGHTS = 32 * 8 + 8 * 16 + 24 * 8 + 8 * 12


def test_decode_of_one_token_reads_every_weight_once() -> None:
    found = cost(record(SPEC), tokens=1, rows=1, kv_lens=[10], weight_bits=4.0)
    assert found.by_op["linear"].flops == 2 * 2 * LAYER_WEIGHTS
    assert found.by_op["linear"].weight_bytes == 2 * LAYER_WEIGHTS / 2
    assert found.by_op["logits"].flops == 2 * 20 * 8
    assert found.by_op["logits"].weight_bytes == 20 * 8 / 2
    assert found.by_op["embed"].weight_bytes == 8 / 2
    assert found.by_op["add_rms_norm"].weight_bytes == 5 * 8 * 4
    # Two layers, K and V, 2 heads of 4, two bytes each.
    assert found.kv_read_bytes == 10 * 2 * 2 * 2 * 4 * 2
    assert found.kv_written_bytes == 1 * 2 * 2 * 2 * 4 * 2
    # Ten keys: 4 heads x (2 * 4 for the score, 2 * 4 for the value, 4 for the softmax), two layers.
    assert found.by_op["attention"].flops == 2 * 10 * 4 * 20
    # The first norm has nothing to add: 4 operations an element, the other four norms 5.
    assert found.by_op["add_rms_norm"].flops == 8 * (4 + 4 * 5)
    assert found.by_op["swiglu"].flops == 2 * 12 * 5


def test_total_is_the_sum_of_the_operations() -> None:
    found = cost(record(SPEC), tokens=6, rows=1, kv_lens=[9], weight_bits=8.0)
    for field in ("flops", "weight_bytes", "kv_read_bytes", "kv_written_bytes", "activation_bytes"):
        assert getattr(found, field) == sum(getattr(part, field) for part in found.by_op.values())
    assert found.memory_bytes == found.weight_bytes + found.kv_read_bytes + found.kv_written_bytes


def test_prefill_multiplies_flops_but_not_weight_bytes() -> None:
    program = record(SPEC)
    one = cost(program, tokens=1, rows=1, kv_lens=[1], weight_bits=4.0).by_op["linear"]
    many = cost(program, tokens=7, rows=7, kv_lens=[7], weight_bits=4.0).by_op["linear"]
    assert many.flops == 7 * one.flops
    assert many.weight_bytes == one.weight_bytes


def test_the_last_layer_computes_for_the_wanted_rows_what_nothing_but_they_need() -> None:
    program = record(SPEC)
    found = cost(program, tokens=7, rows=1, kv_lens=[9], weight_bits=4.0).by_op
    # All of it in the first layer; in the last, QKV for seven tokens and the rest for one.
    assert found["linear"].flops == 2 * (7 * LAYER_WEIGHTS + 7 * 32 * 8 + (LAYER_WEIGHTS - 32 * 8))
    assert found["linear"].weight_bytes == 2 * LAYER_WEIGHTS / 2
    # Pairs: 3 + 4 + ... + 9 keys, then those of the last token.
    assert found["attention"].flops == (42 + 9) * 4 * 20
    assert found["swiglu"].flops == (7 + 1) * 12 * 5
    # Three rows of two sequences, of which the first has one token only: its one, and the second's last two.
    shared = cost(program, tokens=[1, 4], rows=3, kv_lens=[5, 8], weight_bits=4.0).by_op
    assert shared["attention"].flops == (5 + (5 + 6 + 7 + 8) + 5 + 8) * 4 * 20
    nothing = cost(program, tokens=7, rows=0, kv_lens=[9], weight_bits=4.0).by_op
    assert nothing["attention"].flops == 42 * 4 * 20


def test_activations_count_each_array_read_and_written() -> None:
    found = cost(record(replace(SPEC, num_layers=1)), tokens=3, rows=1, kv_lens=[3], weight_bits=4.0).by_op
    assert found["embed"].activation_bytes == 4 * (3 + 3 * 8)
    assert found["swiglu"].activation_bytes == 4 * (24 + 12)
    # A row of the residual stream and one of attention's results.
    assert found["take_rows"].activation_bytes == 4 * (8 + 8 + 1) + 4 * (16 + 16 + 1)
    # x, h out of x for three tokens; then x, h out of x, delta, twice, for one row.
    assert found["add_rms_norm"].activation_bytes == 4 * 8 * (3 * 3 + 4 + 4)


def test_bits_may_differ_from_slot_to_slot() -> None:
    bits = {slot.name: 4.0 for slot in slots(SPEC) if slot.kind == "matrix"}
    program = record(SPEC)
    base = cost(program, tokens=1, rows=1, kv_lens=[1], weight_bits=bits)
    heavier = cost(program, tokens=1, rows=1, kv_lens=[1], weight_bits={**bits, "layers.1.down": 6.0})
    assert heavier.weight_bytes - base.weight_bytes == 8 * 12 * 2 / 8
    del bits["layers.0.o"]
    with pytest.raises(InvalidParameter, match=r"layers\.0\.o"):
        cost(program, tokens=1, rows=1, kv_lens=[1], weight_bits=bits)


@pytest.mark.parametrize("window", [None, 1, 2, 5, 9, 100])
@pytest.mark.parametrize(("query_len", "kv_len"), [(1, 1), (1, 9), (4, 4), (3, 9), (9, 9), (6, 7)])
def test_attention_counts_what_the_mask_lets_through(query_len: int, kv_len: int, window: int | None) -> None:
    seen = [
        {key for key in range(position + 1) if window is None or key > position - window}
        for position in range(kv_len - query_len, kv_len)
    ]
    assert visible_pairs(query_len, kv_len, window) == sum(len(keys) for keys in seen)
    assert visible_keys(query_len, kv_len, window) == len(set().union(*seen))


def test_tokens_are_shared_evenly_or_listed() -> None:
    program = record(SPEC)
    even = cost(program, tokens=4, rows=2, kv_lens=[5, 9], weight_bits=4.0)
    assert even == cost(program, tokens=[2, 2], rows=2, kv_lens=[5, 9], weight_bits=4.0)
    for bad in ({"tokens": 3}, {"tokens": [1]}, {"tokens": [6, 1]}, {"tokens": 4, "rows": 5}, {"kv_dtype": "int3"}):
        arguments = {"tokens": 4, "rows": 2, "kv_lens": [5, 9], "weight_bits": 4.0, **bad}
        with pytest.raises(InvalidParameter):
            cost(program, **arguments)


def test_memory_counts_every_slot_the_cache_and_the_widest_moment() -> None:
    need = memory(record(SPEC), tokens=3, rows=1, weight_bits=8.0, kv_dtype="f32")
    vectors = (2 * 2 * 8 + 8 + 2) * 4
    assert need.weight_bytes == 2 * LAYER_WEIGHTS + 20 * 8 + vectors
    assert need.kv_bytes_per_token == 2 * 2 * 8 * 4
    for kv_dtype, element_bytes in (("int8", 1), ("int16", 2)):
        with_scales = memory(record(SPEC), tokens=3, rows=1, weight_bits=8.0, kv_dtype=kv_dtype)
        assert with_scales.kv_bytes_per_token == 2 * 2 * (8 * element_bytes + 4 * SPEC.num_kv_heads)
    # Widest: the residual stream (8), qkv (32) and the rotated q (16), all for three tokens.
    assert need.activation_bytes == 4 * 3 * (8 + 32 + 16)
