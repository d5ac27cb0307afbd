"""The NumPy definitions against values worked out by hand, or by the plainest loop."""

import math

import numpy as np
import pytest

from wayra.backends.api import StepBatch
from wayra.backends.numpy import ops
from wayra.backends.numpy.kv import LayerKV, decode, encode
from wayra.backends.numpy.rounding import INT8_STEPS, round_in_groups, round_to_words
from wayra.backends.numpy.weights import DenseWeight, dense_weight
from wayra.base.errors import ShapeError
from wayra.base.formats import BF16, F16, F32, Q8_0, WeightFormat
from wayra.weights.tensors import Matrix, RawTensor, Weight


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def int32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def plain(values: np.ndarray) -> DenseWeight:
    return DenseWeight(((values.astype(np.float32), False),))


def one_sequence(count: int, kv_len: int, blocks: tuple[int, ...] = (1, 0)) -> StepBatch:
    positions = np.arange(kv_len - count, kv_len, dtype=np.int32)
    return StepBatch(
        np.zeros(count, np.int32), positions, int32(0, count), int32(kv_len), int32(*blocks)[None], int32()
    )


def test_embed_takes_rows_across_parts() -> None:
    table = DenseWeight(((np.eye(2, dtype=np.float32), False), (floats(5, 6)[None], False)))
    np.testing.assert_array_equal(ops.embed(int32(2, 0), table), [[5, 6], [1, 0]])


def test_add_rms_norm_returns_the_sum_and_its_norm() -> None:
    x, h = ops.add_rms_norm(floats(1, 2)[None], floats(2, 2)[None], floats(1, 10), 0.0)
    np.testing.assert_array_equal(x, [[3, 4]])
    np.testing.assert_allclose(h, [[3 / math.sqrt(12.5), 40 / math.sqrt(12.5)]], rtol=1e-6)
    unchanged, with_eps = ops.add_rms_norm(floats(3, 4)[None], None, floats(1, 1), 12.5)
    np.testing.assert_array_equal(unchanged, [[3, 4]])
    np.testing.assert_allclose(with_eps, [[0.6, 0.8]], rtol=1e-6)


def test_linear_multiplies_rows_and_adds_the_bias() -> None:
    weight = plain(np.array([[1, 2], [3, 4], [0, -1]]))
    np.testing.assert_array_equal(ops.linear(floats(1, 10)[None], weight, None), [[21, 43, -10]])
    np.testing.assert_array_equal(ops.linear(floats(1, 10)[None], weight, floats(1, 0, 10)), [[22, 43, 0]])


def test_rope_store_rotates_halves_and_stores_v_untouched() -> None:
    # One query head, one KV head of 4; position 2; frequencies 1 and 0, so only the first pair turns, by 2 radians.
    kv = LayerKV(np.zeros((2, 2, 32, 1, 4), np.float32), "f32", one_sequence(1, 3))
    qkv = floats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)[None]
    q = ops.rope_store(qkv, int32(2), floats(1, 0), 1.0, ops.HeadAttrs(1, 1, 4), kv)
    cos, sin = math.cos(2), math.sin(2)
    np.testing.assert_allclose(q, [[1 * cos - 3 * sin, 2, 3 * cos + 1 * sin, 4]], rtol=1e-6)
    np.testing.assert_allclose(kv.blocks[0, 1, 2, 0], [5 * cos - 7 * sin, 6, 7 * cos + 5 * sin, 8], rtol=1e-6)
    np.testing.assert_array_equal(kv.blocks[1, 1, 2, 0], [9, 10, 11, 12])
    assert np.count_nonzero(kv.blocks) == 8


def test_rope_store_leaves_dimensions_beyond_the_rotary_ones_and_scales_by_the_magnitude() -> None:
    kv = LayerKV(np.zeros((2, 2, 32, 1, 4), np.float32), "f32", one_sequence(1, 1))
    qkv = np.arange(1, 13, dtype=np.float32)[None]
    q = ops.rope_store(qkv, int32(0), floats(1), 2.0, ops.HeadAttrs(1, 1, 4), kv)
    np.testing.assert_array_equal(q, [[2, 4, 3, 4]])


@pytest.mark.parametrize("window", [None, 1, 3, 33])
def test_attention_equals_the_plain_loop(window: int | None) -> None:
    rng = np.random.default_rng(1)
    count, kv_len, heads = 3, 37, ops.HeadAttrs(4, 2, 5)
    kv = LayerKV(rng.normal(size=(2, 2, 32, 2, 5)).astype(np.float32), "f32", one_sequence(count, kv_len))
    q = rng.normal(size=(count, 20)).astype(np.float32)
    stored = np.concatenate([kv.blocks[:, 1], kv.blocks[:, 0]], axis=1)[:, :kv_len].astype(np.float64)
    found = ops.attention(q, 0.3, window, heads, kv).reshape(count, 4, 5)
    for token in range(count):
        position = kv_len - count + token
        seen = range(0 if window is None else max(0, position + 1 - window), position + 1)
        for head in range(4):
            query = q[token, 5 * head : 5 * head + 5]
            weights = [math.exp(0.3 * float(query @ stored[0, key, head // 2])) for key in seen]
            wanted = sum(w * stored[1, key, head // 2] for w, key in zip(weights, seen, strict=True)) / sum(weights)
            np.testing.assert_allclose(found[token, head], wanted, rtol=2e-5, atol=1e-6)


def test_attention_survives_scores_that_overflow_exp() -> None:
    kv = LayerKV(np.full((2, 1, 32, 1, 2), 100, np.float32), "f32", one_sequence(1, 2, (0,)))
    np.testing.assert_array_equal(
        ops.attention(floats(50, 50)[None], 1.0, None, ops.HeadAttrs(1, 1, 2), kv), [[100] * 2]
    )


def test_swiglu_gates_the_second_half_by_the_first() -> None:
    found = ops.swiglu(floats(0, 2, -200, 3, 5, 7)[None])
    np.testing.assert_allclose(found, [[0, 2 / (1 + math.exp(-2)) * 5, 0]], rtol=1e-6, atol=1e-30)


def test_take_rows_and_logits_pick_and_multiply() -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    taken = ops.take_rows(x, int32(2, 0, 2))
    np.testing.assert_array_equal(taken, [[4, 5], [0, 1], [4, 5]])
    np.testing.assert_array_equal(ops.logits(taken[:1], plain(np.array([[1, 1], [2, 0]]))), [[9, 8]])


def test_activations_are_rounded_in_groups_of_32_with_a_short_last_one() -> None:
    x = np.zeros((1, 35), np.float32)
    x[0, :4] = [127, 0.5, 1.5, -3.4]
    x[0, 32:] = [0, 2.54, -0.03]
    found = round_in_groups(x, INT8_STEPS)
    # Scale 1 in the first group (ties to even), 0.02 in the last.
    np.testing.assert_array_equal(found[0, :4], [127, 0, 2, -3])
    np.testing.assert_allclose(found[0, 32:], [0, 2.54, -0.04], rtol=1e-6)
    assert np.count_nonzero(found[0, 4:32]) == 0


def test_only_quantised_parts_see_rounded_activations() -> None:
    eye = np.eye(2, dtype=np.float32)
    weight = DenseWeight(((eye, "none"), (eye, "int8")))
    found = weight.multiply(floats(127, 0.4)[None])
    np.testing.assert_array_equal(found, np.array([[127, 0.4, 127, 0]], np.float32))


def test_dense_weight_undoes_the_row_order_and_refuses_another_shape() -> None:
    values = np.arange(6, dtype="<f4").reshape(3, 2)
    tensor = RawTensor("t", (3, 2), F32, values.view(np.uint8).reshape(-1))
    weight = Weight("head", (Matrix(tensor, 3, 2, int32(2, 0, 1)),))
    np.testing.assert_array_equal(dense_weight(weight, (3, 2), "rounded").parts[0][0], values[[2, 0, 1]])
    with pytest.raises(ShapeError, match="3 x 2"):
        dense_weight(weight, (2, 3), "float")


@pytest.mark.parametrize(("fmt", "rounding"), [(F32, "none"), (F16, "words"), (BF16, "bf16"), (Q8_0, "int8")])
def test_what_activations_are_rounded_to_follows_the_format(fmt: WeightFormat, rounding: str) -> None:
    stored = np.zeros(2 * fmt.row_bytes(32), np.uint8)
    weight = Weight("head", (Matrix(RawTensor("t", (2, 32), fmt, stored), 2, 32),))
    assert [how for _, how in dense_weight(weight, (2, 32), "rounded").parts] == [rounding]
    assert [how for _, how in dense_weight(weight, (2, 32), "float").parts] == ["none"]


def test_bfloat16_weights_see_bfloat16_activations_but_for_the_head() -> None:
    weight = DenseWeight(((np.eye(1, dtype=np.float32), "bf16"),))
    x = floats(1 + 2**-9)[None]
    assert weight.multiply(x) == 1
    assert weight.multiply(x, is_head=True) == x


def test_words_have_a_bfloat16_scale_not_below_the_largest_and_a_broken_group_is_seen() -> None:
    weights = np.zeros((3, 33), np.float32)
    weights[0, :3] = [8191, -1.5, 0.4]  # scale 1: ties to even
    weights[1, :2] = [8192, 1]  # 8192 / 8191 is no bfloat16, the next is 1 + 2**-7
    weights[2] = np.inf
    found = round_to_words(weights)
    np.testing.assert_array_equal(found[0, :3], [8191, -2, 0])
    step = 1 + 2**-7
    np.testing.assert_array_equal(found[1, :2], np.float32([round(8192 / step) * step, step]))
    assert np.isnan(found[2]).all()
    assert np.count_nonzero(found[:2, 3:]) == 0


def test_bf16_rounds_to_nearest_even_and_keeps_specials() -> None:
    step = 2.0**-7
    values = floats(1, 1 + step / 2, 1 + 1.5 * step, 1 + 0.51 * step, -2.5, float("inf"), 0.0)
    found = decode(encode(values, "bf16"), "bf16")
    np.testing.assert_array_equal(found, floats(1, 1, 1 + 2 * step, 1 + step, -2.5, float("inf"), 0.0))
    assert np.isnan(decode(encode(floats(float("nan")), "bf16"), "bf16")).all()
    # The largest float32 rounds up to infinity, as it does in hardware.
    assert np.isinf(decode(encode(floats(3.4e38, 3.3895e38), "bf16"), "bf16")).tolist() == [True, False]


def test_f16_cache_rounds_what_it_stores() -> None:
    np.testing.assert_array_equal(decode(encode(floats(1 + 2**-12, 70000), "f16"), "f16"), floats(1, float("inf")))
    np.testing.assert_array_equal(decode(encode(floats(0.1), "f32"), "f32"), floats(0.1))
