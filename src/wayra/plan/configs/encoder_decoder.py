"""Models that read with an encoder and write with a decoder (T5, BART and their kin), by their config.json.

Each layer of the decoder keeps keys and values of what was written, and once more of what was read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wayra.model.keys import Keys
from wayra.model.spec import MAX_CONTEXT, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH
from wayra.plan.architecture import Architecture
from wayra.plan.configs.keys import size
from wayra.plan.configs.shape import whole
from wayra.plan.mixers import Mixer


@dataclass(frozen=True, slots=True)
class Pair:
    """What a family's code does and no key says. Without `biased`, norms have one term and there are no biases.

    positions: rows of both tables besides those of the context, -1 for none; every_bias: of relative positions, in all
    layers and not the first alone. embedding_norm: behind the tables; final_norm: behind the layers.
    """

    biased: bool = True
    positions: int = -1
    every_bias: bool = False
    embedding_norm: bool = False
    final_norm: bool = False


_T5 = Pair(biased=False, final_norm=True)
PAIRS: Mapping[str, Pair] = MappingProxyType(
    {
        "t5": _T5,
        "mt5": _T5,
        "umt5": Pair(biased=False, every_bias=True, final_norm=True),
        "bart": Pair(positions=2, embedding_norm=True),
        "mbart": Pair(positions=2, embedding_norm=True, final_norm=True),
        "m2m100": Pair(final_norm=True),
        "pegasus": Pair(positions=0, final_norm=True),
        "marian": Pair(positions=0),
    }
)


@dataclass(frozen=True, slots=True)
class _Side:
    """The encoder or the decoder. inner: of all heads together; attentions: of a layer."""

    layers: int
    heads: int
    inner: int
    ffn_size: int
    attentions: int


def encoder_decoder(keys: Keys, kind: str, *, name: str, notes: list[str]) -> Architecture:
    """The description. Raises FileFormatError."""
    pair = PAIRS[kind]
    hidden = size(keys, "d_model", most=MAX_WIDTH)
    encoder, decoder = _bart_sides(keys, hidden) if pair.biased else _t5_sides(keys)
    gated = not pair.biased and keys.text("feed_forward_proj", "relu").startswith("gated")
    matrices = 3 if gated else 2
    context_len = size(keys, "max_position_embeddings", MAX_CONTEXT if pair.positions < 0 else None, most=MAX_CONTEXT)
    return Architecture(
        name=name,
        title=name,
        num_layers=decoder.layers,
        hidden_size=hidden,
        num_heads=decoder.heads,
        num_kv_heads=decoder.heads,
        head_dim=whole(keys, "the width of attention", decoder.inner, decoder.heads),
        ffn_size=max(encoder.ffn_size, decoder.ffn_size),
        vocab_size=size(keys, "vocab_size", most=MAX_VOCAB),
        context_len=context_len,
        tied=keys.flag("tie_word_embeddings", True),
        mlp_matrices=matrices,
        mixers=tuple(_attention(decoder, hidden, of) for of in ("written", "read")),
        dense_layers=0,
        other_linear=hidden
        * (encoder.layers * 4 * encoder.inner + sum(s.layers * matrices * s.ffn_size for s in (encoder, decoder))),
        around=sum(_around(keys, pair, side, hidden) for side in (encoder, decoder)),
        lookups=2 * (context_len + pair.positions) * hidden if pair.positions >= 0 else 0,
        reads_apart=True,
        source=keys.source,
        note="; ".join(
            [
                *notes,
                "a context counts twice, as tokens read, whose keys and values the decoder keeps, and as many written; "
                "no times are computed for an encoder with a decoder",
            ]
        ),
    )


def _t5_sides(keys: Keys) -> tuple[_Side, _Side]:
    heads = size(keys, "num_heads", most=MAX_HEADS)
    inner = heads * size(keys, "d_kv", most=MAX_HEAD_DIM)
    ffn_size = size(keys, "d_ff", most=MAX_WIDTH)
    layers = size(keys, "num_layers", most=MAX_LAYERS)
    written = size(keys, "num_decoder_layers", layers, most=MAX_LAYERS)
    return _Side(layers, heads, inner, ffn_size, 1), _Side(written, heads, inner, ffn_size, 2)


def _bart_sides(keys: Keys, hidden: int) -> tuple[_Side, _Side]:
    encoder, decoder = (
        _Side(
            size(keys, f"{side}_layers", most=MAX_LAYERS),
            size(keys, f"{side}_attention_heads", most=MAX_HEADS),
            hidden,
            size(keys, f"{side}_ffn_dim", most=MAX_WIDTH),
            attentions,
        )
        for side, attentions in (("encoder", 1), ("decoder", 2))
    )
    return encoder, decoder


def _attention(side: _Side, hidden: int, of: str) -> Mixer:
    return Mixer(
        name="cross attention" if of == "read" else "self attention",
        layers=side.layers,
        linear=4 * hidden * side.inner,
        token_values=2 * side.inner,
        kv_heads=side.heads,
        pair_operations=4 * side.inner,
        told=f"key and value of a token {of}, {side.heads:,} heads",
    )


def _around(keys: Keys, pair: Pair, side: _Side, hidden: int) -> int:
    """Norms, biases and tables of relative positions of one side."""
    norms = side.layers * (side.attentions + 1) + pair.embedding_norm + pair.final_norm
    if pair.biased:
        biases = side.attentions * (3 * side.inner + hidden) + side.ffn_size + hidden
        return norms * 2 * hidden + side.layers * biases
    tables = side.layers if pair.every_bias else 1
    return norms * hidden + tables * size(keys, "relative_attention_num_buckets", 32) * side.heads
