"""LLM.embed: the native backend against the definition, with the real model."""

from pathlib import Path

import numpy as np
import pytest

from wayra.base.errors import ContextOverflow, InvalidParameter
from wayra.engine.request import Pooling
from wayra.llm import LLM

TEXTS = ["The cat sat on the mat.", "Interest rates rose by half a percent this quarter."]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_native_vectors_are_those_of_the_definition(smollm2_path: Path, pooling: Pooling) -> None:
    with LLM(smollm2_path, context_len=64) as native, LLM(smollm2_path, context_len=64, backend="numpy") as defined:
        found, expected = native.embed(TEXTS, pooling=pooling), defined.embed(TEXTS, pooling=pooling)
        raw = native.embed(TEXTS[0], pooling=pooling, normalise=False)
    assert found.shape == (2, native.spec.hidden_size)
    # Activations of eight bits on one side, floats on the other.
    assert ((found * expected).sum(axis=1) > 0.99).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(raw[0] / np.linalg.norm(raw[0]), found[0], atol=1e-5)


def test_what_cannot_be_embedded_is_refused(smollm2_path: Path) -> None:
    with LLM(smollm2_path, context_len=64, backend="null") as llm:
        with pytest.raises(ContextOverflow, match="limit is 64"):
            llm.embed("word " * 100)
        with pytest.raises(InvalidParameter, match="pooling is 'max'"):
            llm.embed("word", pooling="max")  # type: ignore[arg-type]
        assert llm.embed([]).shape == (0, llm.spec.hidden_size)
