"""Random models are read back by the loader as the shape and format they were asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest

from wayra.base import formats
from wayra.base.formats import ALL, WeightFormat
from wayra.weights.formats import dequantise
from wayra.weights.loader import load_weights, model_spec, open_checkpoint

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import random_model


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_random_blocks_are_finite_weights_of_the_size_asked_for(fmt: WeightFormat) -> None:
    blocks = random_model.random_blocks(fmt, 64, 512, np.random.default_rng(1))
    assert blocks.shape == (64, fmt.row_bytes(512))
    values = dequantise(fmt, blocks.reshape(-1), 64 * 512)
    assert np.isfinite(values).all()
    assert 0.4 < values.std() * np.sqrt(512) < 2.5
    assert abs(values.mean()) < values.std()


def test_a_written_model_has_its_shape_and_a_whole_vocabulary(tmp_path: Path, smollm2_path: Path) -> None:
    del smollm2_path  # its tokenizer is borrowed
    small = random_model.Shape(2, 64, 4, 2, 16, 96, 50000, False, 10000.0)
    random_model.write_model("small", small, formats.Q8_0, tmp_path / "m.gguf")
    checkpoint = open_checkpoint(tmp_path / "m.gguf")
    spec = model_spec(checkpoint)
    assert (spec.num_layers, spec.hidden_size, spec.num_kv_heads, spec.vocab_size) == (2, 64, 2, 50000)
    weights = load_weights(checkpoint, spec)
    assert {part.tensor.fmt for weight in weights.matrices.values() for part in weight.parts} == {formats.Q8_0}
