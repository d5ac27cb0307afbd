"""Perplexity as llama.cpp has it, and how much int8 activations cost each of the two engines."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from measuring.loss import NUM_ROWS, TEXT_BYTES, WINDOW_LEN, english_text, score, windows_of
from measuring.pipe import Worker

from wayra import LLM

pytestmark = pytest.mark.peer

SHARE_OF_PEER = 0.005
FLOAT_WINDOWS = 8


@pytest.fixture(scope="module")
def text() -> str:
    return english_text(TEXT_BYTES)


@pytest.fixture(scope="module")
def windows(smollm2_path: Path, peer: Worker, text: str) -> list[list[int]]:
    """llama.cpp's own tokens of the text, in its own windows."""
    with LLM(smollm2_path, threads=2, context_len=WINDOW_LEN) as llm:
        bos_id = llm.tokenizer.bos_id if llm.tokenizer.add_bos else None
    return windows_of(peer.ask("tokenize", text=text, add_special=True, parse_special=False), bos_id)


@pytest.fixture
def float_engine(float_path: Path) -> Iterator[Worker]:
    config = {
        "path": str(float_path), "threads": 2, "context_len": WINDOW_LEN,
        "kv_dtype": "f32", "max_rows": NUM_ROWS, "packed_cache": False,
    }  # fmt: skip
    with Worker(sys.executable, "wayra", config) as worker:
        yield worker


@pytest.fixture
def engine(smollm2_path: Path) -> Iterator[Worker]:
    config = {"path": str(smollm2_path), "threads": 2, "context_len": WINDOW_LEN, "max_rows": NUM_ROWS}
    with Worker(sys.executable, "wayra", config) as worker:
        yield worker


def test_a_long_text_has_the_same_tokens_as_in_llama_cpp(smollm2_path: Path, peer: Worker, text: str) -> None:
    with LLM(smollm2_path, threads=2, context_len=WINDOW_LEN) as llm:
        ours = llm.tokenizer.encode(text)
    assert ours == peer.ask("tokenize", text=text, add_special=True, parse_special=False)


def test_perplexity_of_200_kb_is_within_half_a_percent_of_llama_cpp(
    smollm2_path: Path, peer: Worker, text: str, windows: list[list[int]], tmp_path: Path
) -> None:
    with LLM(smollm2_path, threads=2, context_len=WINDOW_LEN, max_batch=2, score_rows=128, prefix_cache=False) as llm:
        ours = llm.perplexity(text, context_len=WINDOW_LEN)
    theirs = score({"llama.cpp": peer}, windows, tmp_path, reference=None)["llama.cpp"]
    print(f"\nperplexity of {ours.tokens:,} tokens: wayra {ours.perplexity:.4f}, llama.cpp {theirs.perplexity:.4f}")
    assert ours.tokens == len(theirs.nll)
    assert ours.perplexity == pytest.approx(theirs.perplexity, rel=SHARE_OF_PEER)


def test_int8_activations_cost_no_more_than_in_llama_cpp(
    float_engine: Worker, engine: Worker, peer: Worker, windows: list[list[int]], tmp_path: Path
) -> None:
    workers = {"float": float_engine, "wayra": engine, "llama.cpp": peer}
    found = score(workers, windows[:FLOAT_WINDOWS], tmp_path, reference="float")
    for name, one in found.items():
        print(f"\n{name}: perplexity {one.perplexity:.4f}", end="")
        if one.divergences:
            print(f", divergence {one.mean_divergence:.6f}, same first choice {one.same_top_share:.2%}", end="")
    assert found["wayra"].mean_divergence <= 1.25 * found["llama.cpp"].mean_divergence
    assert found["wayra"].perplexity == pytest.approx(found["float"].perplexity, rel=SHARE_OF_PEER)


def test_floats_agree_with_floats_of_llama_cpp(
    float_engine: Worker, float_peer: Worker, windows: list[list[int]], tmp_path: Path
) -> None:
    workers = {"wayra": float_engine, "llama.cpp": float_peer}
    found = score(workers, windows[:FLOAT_WINDOWS], tmp_path, reference="wayra")["llama.cpp"]
    # What is left is llama.cpp's KV cache in f16.
    assert found.mean_divergence <= 1e-5
