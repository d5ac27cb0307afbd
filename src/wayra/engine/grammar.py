"""Structured output: turns a GrammarSpec into a constraint on tokens, with llguidance.

Compilation happens where the caller stands, never on the engine's thread; what it costs is capped. llguidance is loaded
with the first grammar.
"""

from typing import Protocol

from wayra.engine.request import Constraint
from wayra.text.structure import GrammarSpec


class TokenizerView(Protocol):
    """What a grammar asks of a tokenizer. `text.tokenizer.Tokenizer` has it."""

    vocab_size: int
    bos_id: int | None
    eos_ids: frozenset[int]
    strips_space: bool

    def encode(self, text: str, *, add_bos: bool | None = None, parse_special: bool = False) -> list[int]: ...

    def token_bytes(self, token_id: int) -> bytes: ...

    def is_special(self, token_id: int) -> bool: ...


class CompiledGrammar(Protocol):
    """A grammar ready for one vocabulary. Immutable and thread-safe."""

    def constraint(self) -> Constraint:
        """A fresh constraint for one request, in microseconds."""
        ...


class GrammarCompiler:
    """Compiles grammars for one model and remembers them. Thread-safe; cheap until the first `compile`.

    vocab_size: the model's, which may be larger than the tokenizer's; None takes the tokenizer's.
    """

    def __init__(self, tokenizer: TokenizerView, vocab_size: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = tokenizer.vocab_size if vocab_size is None else vocab_size

    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        """A factory of constraints: `Request(..., constraint=compiler.compile(spec).constraint())`.

        Blocks for milliseconds, at most about a second: call it outside an event loop and the engine's thread.
        Raises InvalidParameter naming what is malformed, not supported or too complex.
        """
        raise NotImplementedError
