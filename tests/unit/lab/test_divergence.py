"""How far one model's predictions are from another's: nothing from its own, and by hand where a hand can."""

import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_files import TinyShape, tiny_gguf
from text_samples import byte_level_metadata

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.main import main
from wayra.lab.divergence import Divergence, diverge
from wayra.lab.divergence.measure import divergences
from wayra.lab.divergence.predictor import Predictor, log_softmax
from wayra.llm import LLM
from wayra.llm.options import LLMOptions

CONTEXT_LEN = 64
TEXT = "hello world, the wind blows over the mountains and the condor flies with it. " * 8
KINDS = {"model": "str", "pre": "str", "token_type": "[i32]", "add_bos_token": "bool"}


def tiny(path: Path, seed: int = 0, swapped: bool = False, unused: int = 0) -> Path:
    """swapped: two pieces of its vocabulary change places. unused: tokens that no text has."""
    metadata = byte_level_metadata()
    pieces = metadata["tokenizer.ggml.tokens"]
    kinds = metadata["tokenizer.ggml.token_type"]
    assert isinstance(pieces, list)
    assert isinstance(kinds, list)
    pieces = [*pieces, *(f"<unused{number}>" for number in range(unused))]
    if swapped:
        first, second = pieces.index("a"), pieces.index("b")
        pieces[first], pieces[second] = "b", "a"
    file = tiny_gguf(TinyShape(vocab=len(pieces)), seed=seed)
    file.entries = [entry for entry in file.entries if b"tokenizer.ggml.tokens" not in entry]
    told = {"tokenizer.ggml.tokens": pieces, "tokenizer.ggml.token_type": [*kinds, *[3] * unused]}
    for key, value in {**metadata, **told}.items():
        kind = KINDS.get(key.removeprefix("tokenizer.ggml."), "u32" if isinstance(value, int) else "[str]")
        file.add(key, kind, value)
    return file.write(path)


def between(folder: Path, reference: Path, model: Path, context_len: int = CONTEXT_LEN) -> Divergence:
    settings = Settings(cache_dir=folder / "cache")
    how = LLMOptions(context_len=context_len, threads=1, max_batch=1)
    with Predictor(str(reference), settings, how) as first, Predictor(str(model), settings, how) as second:
        return diverge(first, second, TEXT, context_len)


def test_divergences_are_those_computed_by_hand() -> None:
    expected = np.log(np.float32([[0.75, 0.25], [0.5, 0.5]]))
    found = np.log(np.float32([[0.25, 0.75], [0.5, 0.5]]))
    assert divergences(expected, found).tolist() == pytest.approx([0.5 * math.log(3), 0.0], abs=1e-6)
    assert np.exp(log_softmax(np.float32([[1, 1], [3, 3 + math.log(3)]]))).tolist() == [
        pytest.approx([0.5, 0.5]),
        pytest.approx([0.25, 0.75]),
    ]


def test_a_model_does_not_diverge_from_itself(tmp_path: Path) -> None:
    path = tiny(tmp_path / "a.gguf")
    found = between(tmp_path, path, path)
    assert (found.mean, found.standard_error, found.p99, found.largest) == (0.0, 0.0, 0.0, 0.0)
    assert (found.same_top_share, found.perplexity) == (1.0, found.reference_perplexity)
    # Of 64 tokens the second half less the one that begins it.
    assert (found.windows, found.tokens) == (found.num_windows, 31 * found.num_windows)


def test_the_real_model_does_not_diverge_from_itself_and_its_perplexity_is_the_facades(
    smollm2_path: Path, tmp_path: Path
) -> None:
    found = between(tmp_path, smollm2_path, smollm2_path)
    assert (found.mean, found.largest, found.same_top_share) == (0.0, 0.0, 1.0)
    with LLM(smollm2_path, context_len=CONTEXT_LEN, threads=1, prefix_cache=False) as llm:
        told = llm.perplexity(TEXT, context_len=CONTEXT_LEN)
    assert (found.tokens, found.windows) == (told.tokens, told.windows)
    assert found.perplexity == pytest.approx(told.perplexity, rel=1e-3)


def test_another_model_diverges_and_the_reference_is_the_first(tmp_path: Path) -> None:
    one, two = tiny(tmp_path / "a.gguf"), tiny(tmp_path / "b.gguf", seed=1)
    found, turned = between(tmp_path, one, two), between(tmp_path, two, one)
    assert 1e-4 < found.mean < found.p99 <= found.largest
    assert found.standard_error > 0
    assert found.same_top_share < 1
    assert found.mean != turned.mean
    assert (found.perplexity, found.reference_perplexity) == (turned.reference_perplexity, turned.perplexity)


def test_models_that_read_the_text_otherwise_are_refused(tmp_path: Path) -> None:
    one = tiny(tmp_path / "a.gguf")
    with pytest.raises(InvalidParameter, match="read the text in different tokens"):
        between(tmp_path, one, tiny(tmp_path / "b.gguf", swapped=True))
    with pytest.raises(InvalidParameter, match=r"knows \d+ tokens and .* \d+, so that their predictions"):
        between(tmp_path, one, tiny(tmp_path / "c.gguf", unused=3))
    with pytest.raises(InvalidParameter, match="65 tokens, tiny allows 64"):
        between(tmp_path, one, one, context_len=65)


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("WAYRA_CACHE", str(tmp_path / "cache"))

    def do(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
        code = main(["perplexity", "--threads", "1", "--context", "64", *args, "-"])
        out, err = capsys.readouterr()
        return code, out, err

    return do


def test_the_command_names_both_models_and_what_it_found(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    one, two = str(tiny(tmp_path / "a.gguf")), str(tiny(tmp_path / "b.gguf", seed=1))
    code, out, err = call("-m", two, "--against", one, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["model"], found["against"]) == (two, one)
    code, out, _ = call("-m", two, "--against", one)
    first, second = out.splitlines()
    assert first.startswith(f"divergence {found['mean']:.6f} ± {found['standard_error']:.6f} nats a token")
    assert f"perplexity {found['perplexity']:.4f}, of the other {found['reference_perplexity']:.4f}" in second
    code, out, err = call("-m", two, "--against", one, "--stride", "8")
    assert (code, out) == (2, "")
    assert "leave out --stride" in err
