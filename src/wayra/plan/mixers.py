"""How layers mix tokens, in numbers: what one keeps of each token and of a sequence as a whole, and what that costs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from wayra.base.errors import FileFormatError
from wayra.model.spec import MAX_CONTEXT, MAX_LAYERS

MAX_WEIGHTS = 1 << 44
MAX_STATE_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Mixer:
    """Layers of one kind. The numbers are those of one layer; `layers` says how many there are.

    name: in words. linear: weights of its projections; small: of its norms, biases and convolutions, kept in 16 bits.
    token_values: that a token adds to the cache; token_bits: of such a value, 0 for those of the KV type.
    kv_heads: cards that can keep a share of it each. copies: of each value among the cards. window: tokens a new one
    attends to (0: all before it), from `chunked` borders where so; frees: whether what is behind the window is let go.
    fixed_tokens: kept instead of the text's. shares: attends to what another layer keeps. state_bytes: of a sequence of
    any length. pair_operations: for each two tokens that attend while a prompt is read; kept_operations: of a decode
    step for each token it attends to, where reading them does not take longer; token_operations: for each token besides
    projections.
    told: what the values of a token, or of the state, are.
    Raises: FileFormatError on numbers outside their bounds.
    """

    name: str
    layers: int
    linear: int
    small: int = 0
    token_values: int = 0
    token_bits: int = 0
    kv_heads: int = 1
    copies: float = 1.0
    window: int = 0
    chunked: bool = False
    frees: bool = True
    fixed_tokens: int = 0
    shares: bool = False
    state_bytes: int = 0
    pair_operations: int = 0
    kept_operations: int = 0
    token_operations: int = 0
    told: str = ""

    def __post_init__(self) -> None:
        for what, value, most in (
            ("layers", self.layers, MAX_LAYERS),
            ("weights", self.linear, MAX_WEIGHTS),
            ("small parameters", self.small, MAX_WEIGHTS),
            ("values of a token", self.token_values, MAX_WEIGHTS),
            ("window", self.window, MAX_CONTEXT),
            ("bytes of state", self.state_bytes, MAX_STATE_BYTES),
        ):
            if not 0 <= value <= most:
                raise FileFormatError(f"{self.name}: {what} come to {value:,}; expected 0 to {most:,}")

    @property
    def key(self) -> str:
        """The name as formulas have it."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name.lower())

    @property
    def is_plain(self) -> bool:
        """Whether it keeps every token, and nothing else."""
        frees = self.window and self.frees
        return bool(self.token_values) and not (frees or self.fixed_tokens or self.shares or self.state_bytes)

    def kept_tokens(self, context: float) -> float:
        """Tokens a sequence of this length keeps."""
        if self.shares:
            return 0.0
        if self.fixed_tokens:
            return self.fixed_tokens
        return min(context, self.window) if self.window and self.frees else context

    def seen_tokens(self, context: float) -> float:
        """Tokens the next one attends to."""
        if self.fixed_tokens:
            return self.fixed_tokens
        return min(context, self.window) if self.window else context

    def token_bytes(self, kv_bits: float) -> float:
        """That a token adds in all these layers, copies included."""
        return self.copies * self.layers * self.token_values * (self.token_bits or kv_bits) / 8

    def pairs(self, tokens: float) -> float:
        """Pairs of tokens that attend while a prompt is read: as far as a window reaches back."""
        if self.fixed_tokens:
            return tokens * self.fixed_tokens
        if not self.window or tokens <= self.window:
            return tokens * tokens / 2
        if self.chunked:
            whole, rest = divmod(tokens, self.window)
            return (whole * self.window**2 + rest**2) / 2
        return self.window * tokens - self.window**2 / 2

    def copies_on(self, cards: int) -> float:
        """How often each value of a token is kept where so many cards share the heads; states are shared out."""
        return max(1.0, cards / self.kv_heads) if self.token_values else 1.0

    def keeping_all(self) -> "Mixer":
        """The same in an engine that frees nothing."""
        return replace(self, frees=False) if self.window and self.frees else self


def distinct(mixers: Iterable[Mixer]) -> tuple[Mixer, ...]:
    """The same with a name of its own each: full attention with other heads is "full attention 2"."""
    seen: Counter[str] = Counter()
    found: list[Mixer] = []
    for mixer in mixers:
        seen[mixer.name] += 1
        again = seen[mixer.name]
        found.append(replace(mixer, name=f"{mixer.name} {again}") if again > 1 else mixer)
    return tuple(found)
