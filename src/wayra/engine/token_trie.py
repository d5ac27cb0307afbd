"""A tokenizer as llguidance reads it: the bytes of every token, and which are control tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from wayra.base.errors import InvalidParameter

if TYPE_CHECKING:
    import llguidance


class TokenizerView(Protocol):
    """What a grammar asks of a tokenizer. `text.tokenizer.Tokenizer` has it."""

    vocab_size: int
    bos_id: int | None
    eos_ids: frozenset[int]
    strips_space: bool

    def token_bytes(self, token_id: int) -> bytes: ...

    def is_special(self, token_id: int) -> bool: ...


class _Vocabulary:
    """The attributes that llguidance's wrapper looks for."""

    def __init__(self, tokenizer: TokenizerView, vocab_size: int) -> None:
        num_tokens = min(tokenizer.vocab_size, vocab_size)
        texts = [tokenizer.token_bytes(i) for i in range(num_tokens)]
        self.tokens: Sequence[bytes] = texts + [b""] * (vocab_size - num_tokens)
        self.special_token_ids = [i for i in range(num_tokens) if tokenizer.is_special(i)]
        self.eos_token_id = min(tokenizer.eos_ids)
        self.bos_token_id = tokenizer.bos_id
        specials = set(self.special_token_ids)
        self._ids = {text: i for i, text in enumerate(texts) if text and i not in specials}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes | str) -> list[int]:
        """Tokens that spell the text, the longest first.

        Asked for texts that a grammar forces; those of the tokenizer itself would not do, as it may put a space before.
        """
        raw = text.encode() if isinstance(text, str) else text
        found: list[int] = []
        start = 0
        while start < len(raw):
            lengths = range(min(self._longest, len(raw) - start), 0, -1)
            length = next((n for n in lengths if raw[start : start + n] in self._ids), 0)
            if length:
                found.append(self._ids[raw[start : start + length]])
            start += length or 1
        return found


def token_trie(tokenizer: TokenizerView, vocab_size: int) -> "llguidance.LLTokenizer":
    """Takes some tenths of a second for a large vocabulary; keep it.

    vocab_size: the model's. Tokens beyond the tokenizer's are never allowed.
    Raises InvalidParameter when no token can end an answer.
    """
    import llguidance

    eos_ids = sorted(i for i in tokenizer.eos_ids if 0 <= i < vocab_size)
    if not eos_ids:
        raise InvalidParameter("the model names no end-of-sequence token, which structured output needs; use another")
    wrapper = llguidance.TokenizerWrapper(_Vocabulary(tokenizer, vocab_size))
    return llguidance.LLTokenizer(wrapper, n_vocab=vocab_size, eos_token=eos_ids)
