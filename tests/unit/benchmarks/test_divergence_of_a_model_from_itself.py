"""A model's divergence from itself is zero, by the engine and the arithmetic that measure what quantising costs."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import TinyShape, tiny_gguf

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from measuring.loss import NUM_ROWS, WINDOW_LEN, Score, score
from measuring.wayra_engine import WayraEngine

SHAPE = TinyShape(hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=96, vocab=200)
WINDOWS = np.random.default_rng(3).integers(0, SHAPE.vocab, (2, WINDOW_LEN)).tolist()


class InProcess:
    """An engine asked as a worker is, without a process of its own."""

    def __init__(self, path: Path) -> None:
        self._engine = WayraEngine(str(path), 1, WINDOW_LEN, max_rows=NUM_ROWS, packed_cache=False)

    def ask(self, call: str, **arguments: Any) -> Any:
        return getattr(self._engine, call)(**arguments)


def scores(folder: Path, **seeds: int) -> dict[str, Score]:
    """Of models by their names, each with the weights of its seed; the first is the reference."""
    engines = {name: InProcess(tiny_gguf(SHAPE, seed=seed).write(folder / f"{name}.gguf"))
               for name, seed in seeds.items()}  # fmt: skip
    return score(engines, WINDOWS, folder, next(iter(seeds)))  # type: ignore[arg-type]


def test_a_model_does_not_diverge_from_itself(tmp_path: Path) -> None:
    found = scores(tmp_path, reference=1, same=1)["same"]
    assert len(found.divergences) == 2 * NUM_ROWS
    assert (min(found.divergences), max(found.divergences)) == (0.0, 0.0)
    assert (found.mean_divergence, found.same_top_share) == (0.0, 1.0)


def test_a_model_diverges_from_another(tmp_path: Path) -> None:
    found = scores(tmp_path, reference=1, other=2)["other"]
    assert found.mean_divergence > 1e-4
    # A divergence is never negative but for the rounding of float32 logarithms.
    assert min(found.divergences) > -1e-5
    assert found.same_top_share < 1.0
    assert found.perplexity != pytest.approx(scores(tmp_path, reference=1, other=1)["other"].perplexity, rel=1e-6)
