"""Pooled vectors against the hidden states of the installed transformers."""

from pathlib import Path

import numpy as np
import pytest
from backend_batches import load_folder
from hf_cases import CASES, HfCase

from wayra.backends.api import BackendOptions
from wayra.backends.numpy import NumpyBackend
from wayra.engine.engine import Engine
from wayra.engine.request import Pooling, Request, SamplingParams
from wayra.engine.settings import EngineSettings

torch = pytest.importorskip("torch", reason="parity needs torch and transformers: pip install 'wayra[parity]'")
pytest.importorskip("transformers", reason="parity needs torch and transformers: pip install 'wayra[parity]'")
hf_models = pytest.importorskip("hf_models")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_vectors_equal_those_of_transformers(case: HfCase, pooling: Pooling, tmp_path: Path) -> None:
    model = hf_models.build(case)
    hf_models.save(case, model, tmp_path)
    token_ids = hf_models.prompt(case)
    with torch.no_grad():
        states = model.model(torch.from_numpy(token_ids.astype(np.int64))[None]).last_hidden_state[0].numpy()
    engine = Engine(
        load_folder(tmp_path, NumpyBackend(), BackendOptions(kv_dtype="f32")), EngineSettings(step_tokens=7)
    )
    engine.add(Request("e", tuple(token_ids.tolist()), SamplingParams(max_tokens=0), pooling=pooling))
    outputs = []
    while engine.has_work():
        outputs += engine.step()
    expected = states.mean(axis=0) if pooling == "mean" else states[-1]
    np.testing.assert_allclose(outputs[-1].embedding, expected, atol=1e-4)
