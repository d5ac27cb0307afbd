"""Structured output: turns a GrammarSpec into a constraint on tokens, with llguidance.

Compilation happens where the caller stands, never on the engine's thread, and what a grammar may cost, to compile and
at each token, is capped. llguidance is loaded with the first grammar.
"""

import threading
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import InvalidParameter, WayraError
from wayra.engine.grammar_source import grammar_source
from wayra.engine.token_trie import TokenizerView, token_trie
from wayra.text.structure import GrammarSpec

if TYPE_CHECKING:
    import llguidance

MAX_CACHED = 32
"""Compiled grammars remembered a model; each may come to hold tens of megabytes of lexer states, most hold none."""

MAX_LEXER_STATES = 50_000
"""States a grammar's lexer may come to have, about 500 bytes each."""

STEP_LEXER_FUEL = 200_000
"""Work a mask may take in the lexer; 14 ms at most."""

STEP_ITEMS = 20_000
"""Work a mask may take in the parser; 6 ms at most."""

_MAX_MESSAGE_CHARS = 300


class CompiledGrammar:
    """A grammar ready for one vocabulary. Immutable and thread-safe: a factory of constraints.

    Made by GrammarCompiler.
    """

    def __init__(self, matcher: "llguidance.LLMatcher", num_words: int) -> None:
        self._matcher = matcher
        self._num_words = num_words

    def constraint(self) -> "GrammarConstraint":
        """A fresh constraint for one request, in microseconds."""
        return GrammarConstraint(self._matcher.deep_copy(), self._num_words)


class GrammarConstraint:
    """The Constraint of one request; its lexer's states are shared with all requests of the same grammar."""

    def __init__(self, matcher: "llguidance.LLMatcher", num_words: int) -> None:
        self._matcher = matcher
        self._num_words = num_words

    def mask(self) -> NDArray[np.uint32]:
        """End-of-sequence tokens are allowed exactly where the answer is complete.

        Raises InvalidParameter when the grammar exceeds its limits here.
        """
        with _library_errors():
            words = np.frombuffer(self._matcher.compute_bitmask(), dtype="<u4")
            self._check()
        return words[: self._num_words].astype(np.uint32, copy=False)

    def accept(self, token_id: int) -> bool:
        """Take note of a token; True when nothing can follow it.

        Raises InvalidParameter when the grammar does not allow the token or exceeds its limits.
        """
        with _library_errors():
            self._matcher.consume_token(token_id)
            self._check()
            return self._matcher.is_stopped()

    def is_accepting(self) -> bool:
        """Whether the tokens so far are a complete answer."""
        return self._matcher.is_accepting()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise InvalidParameter(f"the grammar cannot go on here: {_shortened(self._matcher.get_error())}")


class GrammarCompiler:
    """Compiles grammars for one model and remembers them. Thread-safe; cheap until the first `compile`.

    vocab_size: the model's, which may be larger than the tokenizer's; None takes the tokenizer's.
    """

    def __init__(self, tokenizer: TokenizerView, vocab_size: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = tokenizer.vocab_size if vocab_size is None else vocab_size
        self._trie: llguidance.LLTokenizer | None = None
        self._compiled: OrderedDict[GrammarSpec, CompiledGrammar] = OrderedDict()
        self._cache_lock = threading.Lock()
        # One at a time: a flood of costly grammars then takes one core from the engine, not all.
        self._compile_lock = threading.Lock()

    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        """A factory of constraints: `Request(..., constraint=compiler.compile(spec).constraint())`.

        Blocks for milliseconds, about 0.2 s the first time: call it outside event loops and the engine's thread.
        Raises InvalidParameter naming what is malformed, not supported or too complex.
        """
        if (known := self._remembered(spec)) is not None:
            return known
        with self._compile_lock:
            if (known := self._remembered(spec)) is not None:
                return known
            compiled = self._compile(spec)
        with self._cache_lock:
            self._compiled[spec] = compiled
            while len(self._compiled) > MAX_CACHED:
                self._compiled.popitem(last=False)
        return compiled

    def _remembered(self, spec: GrammarSpec) -> CompiledGrammar | None:
        with self._cache_lock:
            if spec in self._compiled:
                self._compiled.move_to_end(spec)
            return self._compiled.get(spec)

    def _compile(self, spec: GrammarSpec) -> CompiledGrammar:
        import llguidance

        with _library_errors():
            source = grammar_source(spec, follows_space=self._tokenizer.strips_space)
            if self._trie is None:
                self._trie = token_trie(self._tokenizer, self._vocab_size)
            limits = llguidance.LLParserLimits(
                step_lexer_fuel=STEP_LEXER_FUEL,
                step_max_items=STEP_ITEMS,
                max_lexer_states=MAX_LEXER_STATES,
                verbose_errors=False,
            )
            matcher = llguidance.LLMatcher(self._trie, source, log_level=0, limits=limits)
            # What is ignored would not be enforced.
            problem = matcher.get_error() or "; ".join(matcher.get_grammar_warnings())
            if problem:
                raise InvalidParameter(f"the structured output cannot be enforced: {_shortened(problem)}")
            compiled = CompiledGrammar(matcher, (self._vocab_size + 31) // 32)
            # A grammar that is empty or too costly from its first token on is refused here and not in the engine.
            if not compiled.constraint().mask().any():
                raise InvalidParameter("the structured output allows no text at all; loosen it")
        return compiled


@contextmanager
def _library_errors() -> Generator[None, None, None]:
    """Turn what llguidance raises, its panics included, into InvalidParameter."""
    try:
        yield
    except WayraError:
        raise
    except BaseException as error:
        # A Rust panic derives from BaseException and its class cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        detail = _shortened(str(error)) or type(error).__name__
        raise InvalidParameter(f"the structured output cannot be enforced: {detail}") from error


def _shortened(message: str) -> str:
    text = " ".join(message.replace("<non-verbose/>", " ").split())
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[: _MAX_MESSAGE_CHARS - 3] + "..."
