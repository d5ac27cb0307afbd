"""Logits of tiny random models of every family, as transformers computed them: see make_golden.py."""

from pathlib import Path

import numpy as np
import pytest
from backend_batches import load_folder, prompt_logits
from hf_cases import CASES

from wayra.backends.api import BackendOptions
from wayra.backends.numpy import NumpyBackend

DATA = Path(__file__).parent / "data"
# Both sides compute in float32 with values up to about 10; only the order of additions differs.
TOLERANCE = 1e-4
F32_KV = BackendOptions(kv_dtype="f32")


@pytest.mark.parametrize("name", [case.name for case in CASES])
@pytest.mark.parametrize("chunks", [(), (1, 33, 34)], ids=["whole", "chunked"])
def test_logits_equal_those_of_transformers(name: str, chunks: tuple[int, ...]) -> None:
    golden = np.load(DATA / name / "golden.npz")
    found = prompt_logits(load_folder(DATA / name, NumpyBackend(), F32_KV), golden["token_ids"], chunks)
    assert np.abs(found - golden["logits"]).max() <= TOLERANCE


def test_golden_logits_are_far_from_uniform() -> None:
    # Otherwise a wrong model could pass.
    for case in CASES:
        logits = np.load(DATA / case.name / "golden.npz")["logits"]
        assert logits.std() > 0.3, case.name
        assert np.abs(np.diff(logits, axis=0)).max() > 1, case.name


def test_golden_files_stay_small() -> None:
    assert sum(file.stat().st_size for file in DATA.rglob("*") if file.is_file()) < 1_000_000
