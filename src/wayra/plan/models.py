"""The architectures the planner sizes: dense, mixture of experts, sliding and chunked attention, as numbers.

Wider than what the engine runs: a plan may be about a model this engine cannot load. Descriptions come from a
config.json, from the GGUF file or from the dated table shipped with the package.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib import resources
from types import MappingProxyType

from wayra.base.errors import FileFormatError, InvalidParameter, UnsupportedModel
from wayra.model.spec import MAX_CONTEXT, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, ModelSpec

MAX_EXPERTS = 1 << 16
MAX_IMAGE_PARAMETERS = 1 << 40


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixture of experts of a model. layers: how many have it; the others are dense with `ffn_size`.

    count, used: experts of a layer, and how many a token is sent to. ffn_size: of one expert.
    shared_ffn_size: of the expert every token passes, 0 for none.
    """

    layers: int
    count: int
    used: int
    ffn_size: int
    shared_ffn_size: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder in numbers.

    mlp_matrices: of a layer without experts, 3 with a gate, 2 without one. image_layers: those that attend to an image
    instead of the text, image_tokens: what they keep of it. image_parameters: of the encoder, which stays in 16 bits.
    window: keys a windowed layer keeps (sliding), or the length of its chunks (chunked). window_layers: their number.
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
    source: str = ""
    as_of: str = ""
    verified: bool = True
    note: str = ""

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
        _between(f"{self.name}: image_parameters", self.image_parameters, 0, MAX_IMAGE_PARAMETERS)
        if (moe := self.experts) is not None:
            _between(f"{self.name}: expert layers", moe.layers, 1, self.num_layers)
            _between(f"{self.name}: experts", moe.count, 1, MAX_EXPERTS)
            _between(f"{self.name}: experts a token", moe.used, 1, moe.count)
            _between(f"{self.name}: expert feed-forward size", moe.ffn_size, 1, MAX_WIDTH)
            _between(f"{self.name}: shared expert's feed-forward size", moe.shared_ffn_size, 0, MAX_WIDTH)

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
        """Weights of the attention projections of all layers."""
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return self.num_layers * self.hidden_size * (2 * q + 2 * kv)

    @property
    def dense_mlp(self) -> int:
        """Weights of gate (where there is one), up and down in the layers without experts."""
        layers = self.num_layers - (self.experts.layers if self.experts else 0)
        return layers * self.mlp_matrices * self.hidden_size * self.ffn_size

    @property
    def one_expert(self) -> int:
        """Weights of one expert of one layer; 0 without experts."""
        return 3 * self.hidden_size * self.experts.ffn_size if self.experts else 0

    @property
    def routed_experts(self) -> int:
        """Weights of all routed experts of all layers."""
        return self.experts.layers * self.experts.count * self.one_expert if self.experts else 0

    @property
    def shared_experts(self) -> int:
        return self.experts.layers * 3 * self.hidden_size * self.experts.shared_ffn_size if self.experts else 0

    @property
    def always_linear(self) -> int:
        """Weights of projections every token uses, head apart."""
        return self.attention + self.dense_mlp + self.shared_experts

    @property
    def linear(self) -> int:
        """Weights quantisation makes smaller: projections and experts, head and embedding apart."""
        return self.always_linear + self.routed_experts

    @property
    def small(self) -> int:
        """Parameters kept in 16 bits or more: norms, biases, routers."""
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        bias = q + 2 * kv if self.attention_bias else 0
        head_norms = 2 * self.head_dim if self.head_norms else 0
        router = self.experts.layers * self.experts.count * self.hidden_size if self.experts else 0
        return self.num_layers * (2 * self.hidden_size + bias + head_norms) + self.hidden_size + router

    @property
    def parameters(self) -> int:
        return self.tables * self.embedding + self.linear + self.small + self.image_parameters

    @property
    def active_linear(self) -> int:
        """Weights of projections one token multiplies with, head apart."""
        used = self.experts.layers * self.experts.used * self.one_expert if self.experts else 0
        return self.always_linear + used

    @property
    def active_parameters(self) -> int:
        return self.active_linear + self.small + self.tables * self.embedding

    @property
    def kv_values_per_token(self) -> int:
        """Values one token adds to the KV cache while every layer keeps it."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim

    def kept_on(self, kind: str) -> "Architecture":
        """The model as far as what its KV cache keeps: this engine, on CPUs, reads a window but frees nothing of it."""
        return replace(self, window=None, window_layers=0) if kind == "cpu" and self.window is not None else self

    def kept_tokens(self, context: float) -> float:
        """Tokens a sequence of this length keeps, averaged over the layers: windowed ones keep their window only,
        those for images one image.
        """
        if self.window is None and not self.image_layers:
            return context
        full = self.num_layers - self.window_layers - self.image_layers
        windowed = self.window_layers * min(context, self.window or 0)
        return (full * context + windowed + self.image_layers * self.image_tokens) / self.num_layers

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
        return self.always_linear + layers * self.experts_touched(tokens) * self.one_expert


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


def _between(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FileFormatError(f"{what} is {value:,}; expected {low:,} to {high:,}")


def architecture(name: str) -> Architecture:
    """A shipped description by name or alias, however it is spelled.

    Raises: UnsupportedModel where the weights are closed, InvalidParameter on an unknown name, with the nearest.
    """
    table, aliases = _shipped()
    key = name.strip().lower()
    found = table.get(aliases.get(key, key)) or table.get(aliases.get(spelled := _as_key(key), spelled))
    if found is None and (vendor := _closed(key)):
        raise UnsupportedModel(
            f"{name[:80]!r} cannot be run on hardware of one's own: {vendor} has not published its weights; "
            "wayra plan weighs closed models by the prices of their APIs"
        )
    if found is None:
        near = difflib.get_close_matches(key[:80], [*table, *aliases], n=3, cutoff=0.4)
        told = f"nearest: {', '.join(near)}" if near else "it knows llama-3.1-8b, mixtral-8x7b and others like these"
        raise InvalidParameter(
            f"the planner knows no model {name[:80]!r}; {told}; or give a config.json or a GGUF file"
        )
    return found


def _as_key(name: str) -> str:
    """ "Llama 3.1 70B Instruct" and "meta-llama/Llama-3.1-70B-Instruct" as the table writes them."""
    last = name.rpartition("/")[2].replace(" ", "-").replace("_", "-").removeprefix("meta-")
    return _TUNED.sub("", last)


_TUNED = re.compile(r"-(instruct|chat|base|hf|it)\b")
_CLOSED: Mapping[str, str] = MappingProxyType(
    {
        r"gpt-?(3|3\.5|4|4o|4\.1|5)\b(?!.*oss)": "OpenAI",
        r"chatgpt\b": "OpenAI",
        r"claude\b": "Anthropic",
        r"gemini\b": "Google",
        r"palm\b": "Google",
        r"rt-?2\b": "Google DeepMind",
        r"alphaproof\b": "Google DeepMind",
        r"grok-?(1\.5|3|4)": "xAI",
    }
)


def _closed(name: str) -> str:
    """Whose model this is, if its weights were never published; else ""."""
    plain = name.rpartition("/")[2].replace(" ", "-").replace("_", "-")
    return next((vendor for pattern, vendor in _CLOSED.items() if re.match(pattern, plain)), "")


def architectures() -> tuple[Architecture, ...]:
    """All shipped descriptions."""
    return tuple(_shipped()[0].values())


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


@lru_cache(maxsize=1)
def _shipped() -> tuple[Mapping[str, Architecture], Mapping[str, str]]:
    document = tomllib.loads(resources.files("wayra.plan").joinpath("data/architectures.toml").read_text("utf-8"))
    known = {field.name for field in fields(Architecture)}
    table: dict[str, Architecture] = {}
    aliases: dict[str, str] = {}
    for row in document["architecture"]:
        given = {key: value for key, value in row.items() if key in known and key != "experts"}
        if "experts" in row:
            given["experts"] = Experts(**row["experts"])
        made = replace(table[row["like"]], **given) if "like" in row else Architecture(**given)
        table[made.name] = made
        aliases.update(dict.fromkeys(row.get("aliases", ()), made.name))
    return MappingProxyType(table), MappingProxyType(aliases)
