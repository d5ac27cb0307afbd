r"""How text is cut before BPE, by the name GGUF files give in `tokenizer.ggml.pre`.

A wrong cut gives wrong tokens without any error, so a name not in the table is refused. The patterns are those of each
model's own tokenizer.json. Where a model cuts digits with a separate rule, `\p{N}` alone, that is a Digits step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from wayra.base.errors import UnsupportedModel

_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased_pattern(digits: str, contraction: str) -> str:
    """Words cut where a lower-case letter meets an upper-case one, as o200k and tekken do."""
    prefix = r"[^\r\n\p{L}\p{N}]?"
    words = f"{prefix}{_UPPER}*{_LOWER}+{contraction}|{prefix}{_UPPER}+{_LOWER}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_BLANKS}"


LLAMA3_PATTERN = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}"
QWEN2_PATTERN = rf"{_CONTRACTION}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}"
O200K_PATTERN = _cased_pattern(r"\p{N}{1,3}", f"{_CONTRACTION}?")
TEKKEN_PATTERN = _cased_pattern(r"\p{N}", "")


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split_on(pattern: str) -> dict[str, Any]:
    """Cut by a regular expression, then spell the parts in the byte alphabet; the library's JSON form."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def _gpt2_cut() -> dict[str, Any]:
    return _byte_level(use_regex=True)


def _gpt2_cut_after_digits() -> dict[str, Any]:
    return {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)],
    }


@dataclass(frozen=True, slots=True)
class PreRule:
    """ignore_merges: a word that is a token as a whole is that token. add_bos: when the file does not say."""

    pre_tokenizer: Mapping[str, Any]
    normalizer: Mapping[str, Any] | None = None
    ignore_merges: bool = False
    add_bos: bool = False


def _table() -> dict[str, PreRule]:
    llama3 = PreRule(split_on(LLAMA3_PATTERN), ignore_merges=True, add_bos=True)
    cl100k = PreRule(split_on(LLAMA3_PATTERN))
    o200k = PreRule(split_on(O200K_PATTERN), ignore_merges=True)
    qwen2 = PreRule(split_on(QWEN2_PATTERN), normalizer={"type": "NFC"})
    digits = PreRule(_gpt2_cut_after_digits())
    return {
        "llama-bpe": llama3,
        "llama3": llama3,
        "llama-v3": llama3,
        "llama4": o200k,
        "gpt-4o": o200k,
        "smollm": digits,
        "starcoder": digits,
        "refact": digits,
        "qwen2": qwen2,
        "deepseek-r1-qwen": qwen2,
        "tekken": PreRule(split_on(TEKKEN_PATTERN), ignore_merges=True, add_bos=True),
        "smaug-bpe": cl100k,
        "dbrx": cl100k,
        "gpt-2": PreRule(_gpt2_cut()),
    }


PRE_RULES: Mapping[str, PreRule] = MappingProxyType(_table())


def pre_rule(name: str) -> PreRule:
    """The rule called `name`. Raises UnsupportedModel for any other name, listing the known ones."""
    rule = PRE_RULES.get(name)
    if rule is None:
        known = ", ".join(sorted(PRE_RULES))
        raise UnsupportedModel(
            f"tokenizer.ggml.pre is {name[:80]!r}, known are {known}; convert the model again with a current converter"
        )
    return rule
