"""The tokenizer kept on disk is a shortcut and never a risk."""

from pathlib import Path

import pytest

from wayra.llm.tokenizers import build_tokenizer, cache_key, load_tokenizer
from wayra.weights.loader import open_checkpoint
from wayra.weights.tensors import Checkpoint

TEXT = "Der Wind weht über die Anden, 3.5 km hoch! 🏔"


@pytest.fixture(scope="module")
def checkpoint(smollm2_path: Path) -> Checkpoint:
    return open_checkpoint(smollm2_path)


@pytest.fixture(scope="module")
def expected(checkpoint: Checkpoint) -> list[int]:
    return build_tokenizer(checkpoint).encode(TEXT)


def cached_file(cache: Path, checkpoint: Checkpoint) -> Path:
    return cache / "tokenizers" / cache_key(checkpoint)


def test_the_second_load_reads_the_cache_and_encodes_alike(
    checkpoint: Checkpoint, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_tokenizer(checkpoint, tmp_path).encode(TEXT) == expected
    assert [p.name for p in (tmp_path / "tokenizers").iterdir()] == [cache_key(checkpoint)]
    monkeypatch.setattr("wayra.llm.tokenizers.build_tokenizer", None)
    cached = load_tokenizer(checkpoint, tmp_path)
    assert cached.encode(TEXT) == expected
    assert cached.eos_ids == build_tokenizer(checkpoint).eos_ids


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "empty", "sound hash of rubbish"])
def test_a_damaged_cache_is_ignored_and_replaced(
    checkpoint: Checkpoint, expected: list[int], tmp_path: Path, damage: str
) -> None:
    import hashlib

    load_tokenizer(checkpoint, tmp_path)
    path = cached_file(tmp_path, checkpoint)
    sound = path.read_bytes()
    flipped = sound[:1000] + bytes([sound[1000] ^ 1]) + sound[1001:]
    rubbish = hashlib.sha256(b"rubbish").digest() + b"rubbish"
    contents = {"flipped bit": flipped, "truncated": sound[:-1], "empty": b"", "sound hash of rubbish": rubbish}
    path.write_bytes(contents[damage])
    assert load_tokenizer(checkpoint, tmp_path).encode(TEXT) == expected
    assert path.read_bytes() == sound


def test_a_cache_that_cannot_be_written_is_done_without(
    checkpoint: Checkpoint, expected: list[int], tmp_path: Path
) -> None:
    (tmp_path / "tokenizers").write_text("a file where the folder should be")
    assert load_tokenizer(checkpoint, tmp_path).encode(TEXT) == expected
    assert load_tokenizer(checkpoint, None).encode(TEXT) == expected
