"""Small tokenizers and difficult texts that several tests share."""

import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayra.text.pieces import LETTER_OF_BYTE, SPACE_MARK

LLAMA_MODELS_WHEEL = "llama-models==0.3.0"

SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "ll o", "he llo", "Ġ w", "o r", "Ġw or", "Ġwor l", "Ġworl d", "1 2", "Ġ Ġ", "ĠĠ ĠĠ", "Ã ©"]
_FRAGMENT_LINE = (
    "a|b|Ab|The|n't|'s|'LL|hello|world|1|23|4567|½|Ⅻ|é|e\u0301|漢|字|한국|🎉|👩\u200d👩\u200d👧|.|!?|...|/|\\|<|>|_|-|Việt|"
    "नमस्ते|ไทย|مرحبا|שלום|İ|\u017f|Ǆ|\U0001d4b3|٣|\u2019s|##|x=1;|<|im_end|>|</s>|<0x41>|▁| |  |    |\t|\n|\r\n|\n\n|"
    "\u00a0|\u3000|\u200d|\x00|\x1c|\u2028|\u0085|\ufeff"
)
FRAGMENTS = [*_FRAGMENT_LINE.split("|"), "|", "<|im_end|>", "<tool>"]


def difficult_texts(count: int, seed: int) -> Iterator[str]:
    """Digits, white space, contractions, CJK, emoji, combining marks and arbitrary code points, mixed."""
    draw = random.Random(seed)
    ranges = [(0, 0x7F), (0x80, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0x1FFFF)]
    for number in range(count):
        if number % 2:
            yield "".join(chr(draw.randint(*draw.choice(ranges))) for _ in range(draw.randint(0, 20)))
        else:
            yield "".join(draw.choice(FRAGMENTS) for _ in range(draw.randint(0, 25)))


def byte_level_metadata(pre: str = "gpt-2") -> dict[str, object]:
    """GGUF metadata of a byte-level BPE: 256 bytes, the merges above, four control tokens, one user-defined."""
    pieces = [*LETTER_OF_BYTE, *(merge.replace(" ", "") for merge in MERGES), "<tool>", *SPECIALS]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [1] * (len(pieces) - 5) + [4] + [3] * 4,
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": pieces.index("<|begin_of_text|>"),
        "tokenizer.ggml.eos_token_id": pieces.index("<|end_of_text|>"),
        "tokenizer.ggml.add_bos_token": False,
    }


def sentencepiece_metadata() -> dict[str, object]:
    """GGUF metadata of a SentencePiece BPE with byte fallback."""
    words = [
        "▁h",
        "el",
        "lo",
        "▁hel",
        "▁hello",
        "▁w",
        "or",
        "ld",
        "▁wor",
        "▁world",
        "▁▁",
        "ll",
        "llo",
        "ab",
        "bc",
        "abc",
    ]
    letters = [*SPACE_MARK, *"helowrdabc.,!é"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words, *letters]
    num_scored = len(words) + len(letters)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [0.0] * 259 + [-float(rank) for rank in range(num_scored)],
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * num_scored,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def llama_models_folder() -> Path:
    """The unpacked package `llama-models`: Meta's tokenizers and code. Skips the test if pip cannot get it."""
    folder = Path(tempfile.gettempdir()) / f"wayra-tests-{LLAMA_MODELS_WHEEL}"
    if not folder.exists():
        scratch = Path(tempfile.mkdtemp(dir=folder.parent))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch)]
        done = subprocess.run([*command, LLAMA_MODELS_WHEEL], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            shutil.rmtree(scratch)
            pytest.skip(f"pip cannot download {LLAMA_MODELS_WHEEL}: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
            wheel.extractall(scratch / "unpacked")
        try:
            (scratch / "unpacked").rename(folder)
        except OSError:
            assert folder.exists(), "neither this test nor another one could put the package in place"
        shutil.rmtree(scratch, ignore_errors=True)
    return folder
