"""Turns a stream of token ids into text without ever showing half a character."""

import codecs
from collections.abc import Sequence

from wayra.text.tokenizer import Tokenizer


class StreamDecoder:
    """The parts it gives, joined, are what `Tokenizer.decode` gives for all ids at once. Time is linear in the text.

    skip_special: leave control tokens out, but those of `visible`.
    is_continuation: the ids go on from other text, so a leading space belongs to them.
    Not thread-safe: one stream, one decoder.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special: bool = True,
        visible: frozenset[int] = frozenset(),
        is_continuation: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._visible = visible
        self._strips_space = tokenizer.strips_space and not is_continuation
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that became certain; the start of an unfinished character is held back."""
        tokenizer = self._tokenizer
        shown = [i for i in token_ids if not (self._skip_special and self._is_hidden(i))]
        raw = b"".join([tokenizer.token_bytes(i) for i in shown])
        if raw and self._strips_space:
            self._strips_space = False
            raw = raw.removeprefix(b" ")
        return self._utf8.decode(raw)

    def _is_hidden(self, token_id: int) -> bool:
        return self._tokenizer.is_special(token_id) and token_id not in self._visible

    def flush(self) -> str:
        """What was held back, as U+FFFD; the stream is over."""
        return self._utf8.decode(b"", final=True)
