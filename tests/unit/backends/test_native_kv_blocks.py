"""KV blocks taken out of one native model and put into another."""

import numpy as np
import pytest
from backend_batches import chunk_batch, int32
from backend_registry import BACKENDS
from tiny_llama import tiny_spec, tiny_weights

from wayra.backends.api import KV_BLOCK_LEN, BackendOptions
from wayra.base.errors import ShapeError
from wayra.model.record import record

VOCAB_SIZE = 50
SHIPPED = sorted(name for name in BACKENDS if name.startswith("native-"))


def load(name: str, kv_dtype: str):
    spec = tiny_spec(VOCAB_SIZE)
    options = BackendOptions(max_step_tokens=64, max_step_seqs=4, threads=1, kv_dtype=kv_dtype, packed_cache=False)
    return BACKENDS[name](record(spec), tiny_weights(spec), options)


@pytest.mark.parametrize("kv_dtype", ["f32", "f16", "bf16", "int8", "int16"])
@pytest.mark.parametrize("name", SHIPPED)
def test_a_prompt_goes_on_in_another_model_from_copied_blocks(name: str, kv_dtype: str) -> None:
    tokens = np.random.default_rng(3).integers(0, VOCAB_SIZE, 2 * KV_BLOCK_LEN + 5).astype(np.int32)
    whole = load(name, kv_dtype)
    whole.allocate_kv(4)
    whole.step(chunk_batch(tokens, 0, 60, [2, 0, 3]))
    other = load(name, kv_dtype)
    other.allocate_kv(6)
    other.write_kv(int32(5, 1), whole.read_kv(int32(2, 0)))
    expected = whole.step(chunk_batch(tokens, 60, 69, [2, 0, 3])).logits
    found = other.step(chunk_batch(tokens, 60, 69, [5, 1, 4])).logits
    np.testing.assert_array_equal(found, expected)


def test_blocks_outside_the_pool_and_rows_of_another_size_are_refused() -> None:
    model = load(SHIPPED[0], "f16")
    model.allocate_kv(2)
    for block in (-1, 2):
        with pytest.raises(ShapeError):
            model.read_kv(int32(block))
    with pytest.raises(ShapeError):
        model.write_kv(int32(0), np.zeros((1, model.kv_bytes_per_block() - 1), np.uint8))
    with pytest.raises(ShapeError):
        model.write_kv(int32(0, 1), np.zeros((1, model.kv_bytes_per_block()), np.uint8))


def test_the_layout_tells_instruction_sets_and_element_types_apart() -> None:
    names = [load(name, kv_dtype).kv_layout() for name in SHIPPED for kv_dtype in ("f16", "bf16", "int8", "int16")]
    assert len(set(names)) == len(names)
