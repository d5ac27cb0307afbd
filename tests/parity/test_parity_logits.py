"""The golden cases again, live against the installed transformers, with other seeds."""

from pathlib import Path

import numpy as np
import pytest
from backend_batches import load_folder, prompt_logits
from hf_cases import CASES, HfCase

from wayra.backends.api import BackendOptions
from wayra.backends.numpy import NumpyBackend
from wayra.model.rope import rope_frequencies
from wayra.model.spec_hf import spec_from_hf

pytest.importorskip("torch", reason="parity needs torch and transformers: pip install 'wayra[parity]'")
pytest.importorskip("transformers", reason="parity needs torch and transformers: pip install 'wayra[parity]'")
hf_models = pytest.importorskip("hf_models")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("seed", [11, 12])
def test_logits_equal_those_of_transformers_live(case: HfCase, seed: int, tmp_path: Path) -> None:
    model = hf_models.build(case, seed)
    hf_models.save(case, model, tmp_path)
    token_ids = hf_models.prompt(case, seed)
    ours = load_folder(tmp_path, NumpyBackend(), BackendOptions(kv_dtype="f32"))
    assert np.abs(prompt_logits(ours, token_ids, (5,)) - hf_models.logits(model, token_ids)).max() <= 1e-4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rope_frequencies_equal_those_of_transformers(case: HfCase) -> None:
    model = hf_models.build(case)
    spec = spec_from_hf({"architectures": [f"{case.architecture}ForCausalLM"], **case.config()})
    ours, magnitude = rope_frequencies(spec.rope, spec.context_len)
    # One unit in the last place: powers are not rounded alike everywhere.
    np.testing.assert_allclose(ours, model.model.rotary_emb.inv_freq.numpy(), rtol=2e-7)
    assert magnitude == pytest.approx(model.model.rotary_emb.attention_scaling, rel=1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_saved_configuration_gives_the_same_spec(case: HfCase, tmp_path: Path) -> None:
    model = hf_models.build(case)
    spec = spec_from_hf({"architectures": [type(model).__name__], **case.config()})
    saved = model.config.to_dict()
    assert spec_from_hf({**saved, "architectures": [type(model).__name__], "_name_or_path": spec.name}) == spec
