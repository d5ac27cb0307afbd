"""An architecture that the planner sizes, as numbers: what mixes tokens, what feeds forward, tables, encoders.

Wider than what the engine runs: a plan may be about a model this engine cannot load.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from wayra.base.errors import FileFormatError
from wayra.model.spec import MAX_CONTEXT, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, ModelSpec
from wayra.plan.mixers import Mixer

MAX_EXPERTS = 1 << 16
MAX_PARAMETERS = 1 << 44


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixture of experts of a model. layers: how many have it; the others are dense with `ffn_size`.

    count, used: experts of a layer, and how many a token is sent to. ffn_size: of one expert.
    shared_ffn_size: of the expert every token passes, 0 for none. matrices: of an expert, 3 with a gate, 2 without one.
    width: of what routed experts read and write, 0 for the model's.
    """

    layers: int
    count: int
    used: int
    ffn_size: int
    shared_ffn_size: int = 0
    matrices: int = 3
    width: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder in numbers.

    mlp_matrices: of a layer without experts, 3 with a gate, 2 without one. image_layers: those that attend to an image
    instead of the text, image_tokens: what they keep of it. image_parameters: of the encoder, which stays in 16 bits.
    window: keys a windowed layer keeps (sliding), or the length of its chunks (chunked). window_layers: their number.
    mixers: where layers are not all attention of the same heads. dense_layers: those with a feed-forward layer but no
    experts, None for all without experts. other_linear: weights of projections besides. repeated: of those, what tokens
    pass again in other layers, and steps read again. around: parameters of norms and of all else that stays in 16 bits,
    where they were counted one by one. lookups: of tables of which a token reads a row, embedding apart.
    mixing: what mixes tokens in the layers, kind by kind. reads_apart: with an encoder, so that no times are computed.
    source, as_of: where the numbers are from and when they were read. verified: False where no file was at hand.
    Raises: FileFormatError on numbers outside their bounds or at odds with each other.
    """

    name: str
    title: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    context_len: int
    tied: bool = False
    attention_bias: bool = False
    head_norms: bool = False
    window: int | None = None
    window_layers: int = 0
    window_kind: str = "sliding"
    experts: Experts | None = None
    mlp_matrices: int = 3
    image_layers: int = 0
    image_tokens: int = 0
    image_parameters: int = 0
    mixers: tuple[Mixer, ...] = ()
    dense_layers: int | None = None
    other_linear: int = 0
    repeated: int = 0
    around: int | None = None
    lookups: int = 0
    source: str = ""
    as_of: str = ""
    reads_apart: bool = False
    verified: bool = True
    note: str = ""
    mixing: tuple[Mixer, ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, limit in _LIMITS.items():
            _between(f"{self.name}: {what}", getattr(self, what), 1, limit)
        if self.num_heads % self.num_kv_heads:
            raise FileFormatError(
                f"{self.name}: {self.num_heads} query heads cannot share {self.num_kv_heads} KV heads; "
                "expected a multiple"
            )
        if self.window is not None:
            _between(f"{self.name}: window", self.window, 1, MAX_CONTEXT)
        _between(f"{self.name}: window_layers", self.window_layers, 0, self.num_layers)
        _between(f"{self.name}: matrices of a feed-forward layer", self.mlp_matrices, 2, 3)
        _between(f"{self.name}: image_layers", self.image_layers, 0, self.num_layers - self.window_layers)
        _between(f"{self.name}: image_tokens", self.image_tokens, 0, MAX_CONTEXT)
        for what in ("image_parameters", "other_linear", "repeated", "lookups"):
            _between(f"{self.name}: {what}", getattr(self, what), 0, MAX_PARAMETERS)
        _between(f"{self.name}: around", self.around or 0, 0, MAX_PARAMETERS)
        _between(f"{self.name}: dense_layers", self.dense_layers or 0, 0, self.num_layers)
        if (moe := self.experts) is not None:
            _between(f"{self.name}: expert layers", moe.layers, 1, self.num_layers)
            _between(f"{self.name}: experts", moe.count, 1, MAX_EXPERTS)
            _between(f"{self.name}: experts a token", moe.used, 1, moe.count)
            _between(f"{self.name}: expert feed-forward size", moe.ffn_size, 1, MAX_WIDTH)
            _between(f"{self.name}: shared expert's feed-forward size", moe.shared_ffn_size, 0, MAX_WIDTH)
            _between(f"{self.name}: matrices of an expert", moe.matrices, 2, 3)
            _between(f"{self.name}: width of experts", moe.width, 0, MAX_WIDTH)
        # A plan asks for it a hundred thousand times.
        object.__setattr__(self, "mixing", self.mixers or _attention(self))

    @property
    def embedding(self) -> int:
        """Parameters of the embedding table; the head has as many."""
        return self.vocab_size * self.hidden_size

    @property
    def tables(self) -> int:
        """1 where the head is the embedding table, else 2."""
        return 1 if self.tied else 2

    @property
    def attention(self) -> int:
        """Weights of the projections of all that mixes tokens."""
        return sum(mixer.layers * mixer.linear for mixer in self.mixing)

    @property
    def dense_mlp(self) -> int:
        """Weights of gate (where there is one), up and down in the layers without experts."""
        layers = self.dense_layers
        if layers is None:
            layers = self.num_layers - (self.experts.layers if self.experts else 0)
        return layers * self.mlp_matrices * self.hidden_size * self.ffn_size

    @property
    def one_expert(self) -> int:
        """Weights of one expert of one layer; 0 without experts."""
        moe = self.experts
        return moe.matrices * (moe.width or self.hidden_size) * moe.ffn_size if moe else 0

    @property
    def routed_experts(self) -> int:
        """Weights of all routed experts of all layers."""
        return self.experts.layers * self.experts.count * self.one_expert if self.experts else 0

    @property
    def shared_experts(self) -> int:
        moe = self.experts
        return moe.layers * moe.matrices * self.hidden_size * moe.shared_ffn_size if moe else 0

    @property
    def always_linear(self) -> int:
        """Weights of projections every token uses, head apart."""
        return self.attention + self.dense_mlp + self.shared_experts + self.other_linear

    @property
    def linear(self) -> int:
        """Weights quantisation makes smaller: projections and experts, head and embedding apart."""
        return self.always_linear + self.routed_experts

    @property
    def small(self) -> int:
        """Parameters kept in 16 bits or more: norms, biases, routers, convolutions."""
        around = self.around
        if around is None:
            around = (2 * self.num_layers + 1) * self.hidden_size
        router = self.experts.layers * self.experts.count * self.hidden_size if self.experts else 0
        return sum(mixer.layers * mixer.small for mixer in self.mixing) + around + router

    @property
    def parameters(self) -> int:
        return self.tables * self.embedding + self.lookups + self.linear + self.small + self.image_parameters

    @property
    def active_linear(self) -> int:
        """Weights of projections one token multiplies with, head apart; repeated ones as often as it does."""
        used = self.experts.layers * self.experts.used * self.one_expert if self.experts else 0
        return self.always_linear + self.repeated + used

    @property
    def active_parameters(self) -> int:
        return self.active_linear - self.repeated + self.small + self.lookups + self.tables * self.embedding

    @property
    def state_bytes(self) -> int:
        """What a sequence of any length keeps."""
        return sum(mixer.layers * mixer.state_bytes for mixer in self.mixing)

    @property
    def beyond_engine(self) -> str:
        """What of the model this engine does not run, in words; "" where nothing here says so."""
        odd = (
            one.name for one in self.mixing if one.state_bytes or one.fixed_tokens or one.kept_operations or one.shares
        )
        if self.reads_apart:
            return "encoder with a decoder"
        return next(odd, "mixtures of experts" if self.experts is not None else "")

    def kept_on(self, kind: str, cards: int = 1) -> "Architecture":
        """The model as far as what its KV cache keeps: this engine, on CPUs, reads a window but frees nothing of it.

        cards: that share its heads, and each keep a copy of what they cannot share.
        """
        if kind != "cpu" and cards == 1:
            return self
        keeps_all = kind == "cpu" and any(mixer.window and mixer.frees for mixer in self.mixing)
        copies = any(mixer.copies_on(cards) > 1 for mixer in self.mixing)
        if not keeps_all and not copies:
            return self
        kept = (mixer.keeping_all() if keeps_all else mixer for mixer in self.mixing)
        return replace(self, mixers=tuple(replace(mixer, copies=mixer.copies_on(cards)) for mixer in kept))

    def kept_bytes(self, context: float, kv_bits: float) -> float:
        """What a sequence of this length keeps: of its tokens, in layers with a window of those within it, and of it
        as a whole.
        """
        return self.state_bytes + sum(m.token_bytes(kv_bits) * m.kept_tokens(context) for m in self.mixing)

    def seen_bytes(self, context: float, kv_bits: float) -> float:
        """What a step of decoding reads of that, and writes: states are written back as a whole."""
        return 2 * self.state_bytes + sum(m.token_bytes(kv_bits) * m.seen_tokens(context) for m in self.mixing)

    def experts_touched(self, tokens: float) -> float:
        """Experts of a layer that a step of so many tokens reads, expected when routing is even.

        Each token leaves an expert out with probability 1 - used / count, all of them with its power `tokens`.
        """
        if self.experts is None:
            return 0.0
        return self.experts.count * (1 - (1 - self.experts.used / self.experts.count) ** tokens)

    def linear_read(self, tokens: float) -> float:
        """Weights of projections a step of so many tokens reads, head apart."""
        layers = self.experts.layers if self.experts else 0
        return self.always_linear + self.repeated + layers * self.experts_touched(tokens) * self.one_expert


_LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "num_layers": MAX_LAYERS,
        "hidden_size": MAX_WIDTH,
        "num_heads": MAX_HEADS,
        "num_kv_heads": MAX_HEADS,
        "head_dim": MAX_HEAD_DIM,
        "ffn_size": MAX_WIDTH,
        "vocab_size": MAX_VOCAB,
        "context_len": MAX_CONTEXT,
    }
)


def _attention(model: Architecture) -> tuple[Mixer, ...]:
    """Attention with the same heads in all layers: those that keep all, those with a window, those for images."""
    q, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    every = Mixer(
        name="full attention",
        layers=model.num_layers - model.window_layers - model.image_layers,
        linear=model.hidden_size * (2 * q + 2 * kv),
        small=(q + 2 * kv if model.attention_bias else 0) + (2 * model.head_dim if model.head_norms else 0),
        token_values=2 * kv,
        kv_heads=model.num_kv_heads,
        pair_operations=4 * q,
        told=f"key and value, {model.num_kv_heads:,} heads of {model.head_dim:,}",
    )
    is_chunked = model.window_kind == "chunked"
    windowed = replace(
        every,
        name=f"{model.window_kind} attention",
        layers=model.window_layers if model.window else 0,
        window=model.window or 0,
        chunked=is_chunked,
    )
    images = replace(every, name="image attention", layers=model.image_layers, fixed_tokens=model.image_tokens)
    return tuple(mixer for mixer in (every, windowed, images) if mixer.layers)


def _between(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FileFormatError(f"{what} is {value:,}; expected {low:,} to {high:,}")


def from_spec(spec: ModelSpec, *, source: str) -> Architecture:
    """The description of a model this engine runs."""
    windowed = 0
    if spec.sliding_window is not None:
        windowed = len(spec.sliding_layers) if spec.sliding_layers is not None else spec.num_layers
    return Architecture(
        name=spec.name or spec.family,
        title=spec.name or spec.family,
        num_layers=spec.num_layers,
        hidden_size=spec.hidden_size,
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        ffn_size=spec.ffn_size,
        vocab_size=spec.vocab_size,
        context_len=spec.context_len,
        tied=spec.tied_embeddings,
        attention_bias=spec.attention_bias,
        window=spec.sliding_window,
        window_layers=windowed,
        source=source,
    )
