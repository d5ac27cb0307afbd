"""KV blocks leave a model as bytes and come back, into another model of the same layout."""

import numpy as np
import pytest
from tiny_llama import tiny_spec, tiny_weights

from wayra.backends.api import BackendOptions, Model
from wayra.backends.null import NullModel
from wayra.backends.numpy.backend import NumpyBackend
from wayra.base.errors import ShapeError
from wayra.model.record import record


@pytest.fixture(params=["null", "f32", "f16", "bf16", "int8", "int16"])
def pair(request: pytest.FixtureRequest) -> tuple[Model, Model]:
    def make() -> Model:
        if request.param == "null":
            return NullModel()
        spec = tiny_spec()
        return NumpyBackend().load(record(spec), tiny_weights(spec), BackendOptions(kv_dtype=request.param))

    one, two = make(), make()
    one.allocate_kv(5)
    two.allocate_kv(3)
    return one, two


def test_blocks_written_are_read_back_byte_for_byte(pair: tuple[Model, Model]) -> None:
    one, two = pair
    assert one.kv_layout() == two.kv_layout()
    data = np.random.default_rng(1).integers(0, 256, (2, one.kv_bytes_per_block()), dtype=np.uint8)
    one.write_kv(np.array([4, 1], np.int32), data)
    moved = one.read_kv(np.array([1, 4], np.int32))
    assert np.array_equal(moved, data[::-1])
    two.write_kv(np.array([0, 2], np.int32), moved)
    assert np.array_equal(two.read_kv(np.array([2, 0], np.int32)), data)


@pytest.mark.parametrize("block_ids", [np.array([5], np.int32), np.array([-1], np.int32), np.array([0], np.int64)])
def test_blocks_there_are_not_are_refused(pair: tuple[Model, Model], block_ids: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="block_ids"):
        pair[0].read_kv(block_ids)


def test_bytes_of_another_size_are_refused(pair: tuple[Model, Model]) -> None:
    with pytest.raises(ShapeError, match="KV bytes"):
        pair[0].write_kv(np.array([0], np.int32), np.zeros((1, 7), np.uint8))
