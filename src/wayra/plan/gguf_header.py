"""GGUF files of models or formats that this engine does not run: sized by what the header says of their tensors."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import cast

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.base.formats import BY_GGML_ID
from wayra.model.keys import Keys, shown
from wayra.plan.gguf_windows import Windows, windows_of
from wayra.plan.mixers import Mixer, distinct
from wayra.plan.models import Architecture, Experts
from wayra.plan.stored import Stored, TensorBytes, as_stored
from wayra.weights.gguf import GgufCheckpoint
from wayra.weights.gguf_header import BLOCKS, TensorInfo

EMBEDDING, HEAD = "token_embd.weight", "output.weight"
TABLES = (EMBEDDING, HEAD)
LOOKUPS = ("position_embd.weight", "per_layer_token_embd.weight", "token_types.weight")
# Small although they are matrices: routers, and convolutions over a few tokens.
SMALL = (
    ".ffn_gate_inp.weight", ".ssm_conv1d.weight", ".ssm_conv1d_q.weight", ".ssm_conv1d_k.weight",
    ".ssm_conv1d_v.weight", ".ssm_a", ".ssm_d", ".ssm_norm.weight", ".shortconv.conv.weight",
)  # fmt: skip
STATE_VALUE_BYTES = 4
FULL = "full attention"
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_FEED_FORWARD = "ffn_"


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's tensors by the ends of their names."""

    shapes: Mapping[str, tuple[int, ...]]

    def rows(self, name: str) -> int:
        """Outputs of a matrix, 0 where there is none."""
        shape = self.shapes.get(f"{name}.weight", (0,))
        return shape[-2] if len(shape) > 1 else 0

    def columns(self, name: str) -> int:
        shape = self.shapes.get(f"{name}.weight", ())
        return shape[-1] if shape else 0

    def weights(self, *, feed_forward: bool) -> int:
        """Of its matrices."""
        return sum(
            prod(shape)
            for name, shape in self.shapes.items()
            if _is_matrix(f".{name}", shape) and name.startswith(_FEED_FORWARD) == feed_forward
        )


def sized_by_header(checkpoint: GgufCheckpoint, name: str, source: str) -> tuple[Architecture, Stored]:
    """The model and how its weights are stored; bytes of weights are the file's own.

    Raises: UnsupportedModel where nothing here says what it keeps of a sequence, or how a tensor is stored;
    FileFormatError.
    """
    keys = Keys(checkpoint.metadata, source)
    kind = keys.text("general.architecture")
    tables = linear = small = 0
    for tensor, layout in checkpoint.layouts.items():
        size = _bytes(layout, source)
        if tensor in TABLES or tensor in LOOKUPS:
            tables += size
        elif _is_matrix(tensor, layout.shape):
            linear += size
        else:
            small += size
    model = _shape(checkpoint, keys, kind, name)
    if not model.linear or not linear:
        raise FileFormatError(f"{source} has no matrices besides its table; is the file complete?")
    quantised = any(BLOCKS[one.type_id][2] * 8 < 16 * BLOCKS[one.type_id][1] for one in checkpoint.layouts.values())
    return model, as_stored(model, TensorBytes(linear, tables, small), quantised=quantised, source=source)


def _bytes(layout: TensorInfo, source: str) -> int:
    if layout.num_bytes is None:
        raise UnsupportedModel(
            f"{source}: tensor {layout.name[:80]!r} is stored as the unknown type {layout.type_id}; "
            "the planner does not know how large its blocks are"
        )
    return layout.num_bytes


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and not name.endswith(SMALL)


def _shape(checkpoint: GgufCheckpoint, keys: Keys, kind: str, name: str) -> Architecture:
    shapes = checkpoint.shapes
    if (table := shapes.get(EMBEDDING)) is None or len(table) != 2:
        raise FileFormatError(f"{keys.source} has no table {EMBEDDING}; expected the file of a whole language model")
    layers, hidden_size = _layers(shapes, keys, kind), keys.integer(f"{kind}.embedding_length")
    heads, windows = _heads(keys, kind, hidden_size), windows_of(keys, kind, len(layers))
    matrices = 3 if any("ffn_gate" in one for layer in layers for one in layer.shapes) else 2
    experts = _experts(layers, keys, kind, matrices)
    ffn_size = max((layer.columns("ffn_down") for layer in layers), default=0)
    found = Architecture(
        name=name,
        title=name,
        num_layers=len(layers),
        hidden_size=hidden_size,
        num_heads=heads.heads,
        num_kv_heads=heads.kv_heads if not heads.heads % heads.kv_heads else heads.heads,
        head_dim=heads.head_dim,
        ffn_size=ffn_size or (experts.ffn_size if experts else hidden_size),
        vocab_size=table[0],
        context_len=keys.integer(f"{kind}.context_length"),
        tied=HEAD not in shapes,
        mlp_matrices=matrices,
        experts=experts,
        mixers=_mixers(layers, keys, kind, heads, windows),
        dense_layers=_dense_layers(layers, matrices * hidden_size * ffn_size),
        around=0,
        lookups=sum(prod(shapes[one]) for one in LOOKUPS if one in shapes),
        source=keys.source,
        note="; ".join(_notes(checkpoint, kind, windows)),
    )
    inner = [(one, shape) for one, shape in shapes.items() if one not in (*TABLES, *LOOKUPS)]
    linear = sum(prod(shape) for one, shape in inner if _is_matrix(one, shape))
    small = sum(prod(shape) for one, shape in inner if not _is_matrix(one, shape))
    # What the description does not name stays a weight, of all tokens.
    return replace(found, other_linear=max(0, linear - found.linear), around=max(1, small - found.small))


def _heads(keys: Keys, kind: str, hidden_size: int) -> "_Heads":
    heads = _largest(keys, f"{kind}.attention.head_count")
    if heads < 1:
        raise FileFormatError(f"{keys.source}: {heads} heads; expected at least one")
    kv_heads = _largest(keys, f"{kind}.attention.head_count_kv", heads)
    head_dim = keys.integer(f"{kind}.attention.key_length", max(1, hidden_size // heads))
    if kv_heads < 0 or head_dim < 1:
        raise FileFormatError(f"{keys.source}: {kv_heads} KV heads of {head_dim}; expected at least one value")
    return _Heads(heads, kv_heads or heads, head_dim)


def _dense_layers(layers: Sequence[_Layer], every: int) -> int:
    """How many whole feed-forward layers of the largest width there are."""
    found = sum(prod(s) for layer in layers for n, s in layer.shapes.items() if _is_dense(n, s))
    return min(found // every, len(layers)) if every > 0 else 0


@dataclass(frozen=True, slots=True)
class _Heads:
    heads: int
    kv_heads: int
    head_dim: int


def _layers(shapes: Mapping[str, tuple[int, ...]], keys: Keys, kind: str) -> Sequence[_Layer]:
    # Layers that guess tokens ahead come last, and are not run.
    ahead = {matched[1] for name in shapes if ".nextn." in name and (matched := _LAYER.fullmatch(name)) is not None}
    count = keys.integer(f"{kind}.block_count") - len(ahead)
    found: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if (matched := _LAYER.fullmatch(name)) is not None and int(matched[1]) < count:
            found.setdefault(int(matched[1]), {})[matched[2]] = shape
    if not found or len(found) != count:
        raise FileFormatError(f"{keys.source}: tensors of {len(found)} of {count} layers; is the file complete?")
    return [_Layer(found[i]) for i in range(count)]


def _largest(keys: Keys, name: str, default: int | None = None) -> int:
    """Of a number for each layer, the largest."""
    value = keys.get(name)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        listed = [int(one) for one in cast(Iterable[object], value) if isinstance(one, int)]
        return max(listed, default=0)
    return keys.integer(name, default)


def _is_dense(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and name in ("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")


def _experts(layers: Sequence[_Layer], keys: Keys, kind: str, matrices: int) -> Experts | None:
    sparse = [layer for layer in layers if "ffn_down_exps.weight" in layer.shapes]
    if not sparse:
        return None
    shape = sparse[0].shapes["ffn_down_exps.weight"]
    if len(shape) != 3:
        raise FileFormatError(
            f"{keys.source}: ffn_down_exps has {len(shape)} dimensions; expected experts, rows, columns"
        )
    count, _, ffn_size = shape
    return Experts(
        layers=len(sparse),
        count=count,
        used=keys.integer(f"{kind}.expert_used_count"),
        ffn_size=ffn_size,
        shared_ffn_size=max(layer.columns("ffn_down_shexp") for layer in sparse),
        matrices=matrices,
    )


def _mixers(layers: Sequence[_Layer], keys: Keys, kind: str, heads: _Heads, windows: Windows) -> tuple[Mixer, ...]:
    """Layers of one description together; what each keeps, by its own tensors."""
    made: Counter[Mixer] = Counter()
    weights: Counter[Mixer] = Counter()
    for layer, window in zip(layers, windows.of, strict=True):
        every = _of_layer(layer, keys, kind, heads)
        found = [_windowed(mixer, window, windows.chunked) for mixer in every]
        made.update(found)
        for mixer in found[:1]:
            weights[mixer] += layer.weights(feed_forward=False)
    if not made:
        raise UnsupportedModel(
            f"the planner cannot size architecture {shown(kind)}: none of its tensors says what it keeps of a sequence"
        )
    return distinct(replace(one, layers=count, linear=weights[one] // count) for one, count in made.items())


def _of_layer(layer: _Layer, keys: Keys, kind: str, heads: _Heads) -> Iterator[Mixer]:
    """What mixes tokens in a layer; nothing where that is a feed-forward layer alone."""
    if other := next((name for name in layer.shapes if "time_mix" in name), None):
        raise UnsupportedModel(f"the planner cannot size architecture {shown(kind)}: {other} changes what it remembers")
    convolutions = [shape for name, shape in layer.shapes.items() if name.startswith("ssm_conv1d")
                    and name.endswith(".weight")]  # fmt: skip
    if convolutions:
        yield _state_space(convolutions, keys, kind)
    if (kernel := layer.columns("shortconv.conv")) and (channels := layer.rows("shortconv.conv")):
        size = (kernel - 1) * channels * STATE_VALUE_BYTES
        yield Mixer("short convolution", 1, 0, state_bytes=size, told=f"{kernel - 1} x {channels:,} values of 4 bytes")
    if layer.rows("attn_kv_a_mqa"):
        yield _latent(layer, keys, kind, heads)
    elif layer.rows("attn_k") or (layer.rows("attn_qkv") and not convolutions):
        yield _attention(layer, keys, kind, heads)


def _windowed(mixer: Mixer, window: int, chunked: bool) -> Mixer:
    if not window or mixer.name != FULL:
        return mixer
    return replace(mixer, name=f"{'chunked' if chunked else 'sliding'} attention", window=window, chunked=chunked)


def _latent(layer: _Layer, keys: Keys, kind: str, heads: _Heads) -> Mixer:
    width, rank = layer.rows("attn_kv_a_mqa"), keys.integer(f"{kind}.attention.kv_lora_rank")
    query = layer.rows("attn_q_b") or layer.rows("attn_q")
    return Mixer(
        "latent attention",
        1,
        0,
        token_values=width,
        pair_operations=2 * (query + layer.columns("attn_output")),
        kept_operations=2 * heads.heads * (width + rank),
        told=f"one vector of {width:,} for all heads, no copy for values",
    )


def _attention(layer: _Layer, keys: Keys, kind: str, heads: _Heads) -> Mixer:
    value_dim = keys.integer(f"{kind}.attention.value_length", heads.head_dim)
    key = layer.rows("attn_k") or heads.kv_heads * heads.head_dim
    value = layer.rows("attn_v") or key // heads.head_dim * value_dim
    out = layer.columns("attn_output") or heads.heads * value_dim
    return Mixer(
        FULL,
        1,
        0,
        token_values=key + value,
        kv_heads=max(1, key // heads.head_dim),
        pair_operations=2 * (heads.heads * heads.head_dim + out),
        told=f"key of {key:,} values and value of {value:,}",
    )


def _state_space(convolutions: Sequence[tuple[int, ...]], keys: Keys, kind: str) -> Mixer:
    kernel = keys.integer(f"{kind}.ssm.conv_kernel")
    if kernel < 1:
        raise FileFormatError(f"{keys.source}: {kind}.ssm.conv_kernel is {kernel}; expected at least 1")
    channels = sum(prod(shape) for shape in convolutions) // kernel
    if keys.get(f"{kind}.kda.head_dim") is not None:
        carried = channels // len(convolutions) * keys.integer(f"{kind}.kda.head_dim")
    else:
        carried = keys.integer(f"{kind}.ssm.inner_size") * keys.integer(f"{kind}.ssm.state_size")
    return Mixer(
        "state space",
        1,
        0,
        state_bytes=((kernel - 1) * channels + carried) * STATE_VALUE_BYTES,
        token_operations=6 * carried,
        told=f"convolution {kernel - 1} x {channels:,}, recurrence {carried:,} values of {STATE_VALUE_BYTES} bytes",
    )


def _notes(checkpoint: GgufCheckpoint, kind: str, windows: Windows) -> list[str]:
    unread = sorted({BLOCKS[one.type_id][0] for one in checkpoint.layouts.values() if one.type_id not in BY_GGML_ID})
    what = f"read {', '.join(unread)}" if unread else f"run {kind}"
    notes = [f"this engine does not {what}; sized by the tensors of its file"]
    return [*notes, windows.note] if windows.note else notes
