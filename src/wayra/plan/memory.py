"""How much memory a model takes, and what fits: weights, KV cache, activations, runtime, each with its formula."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from wayra.base.blocks import KV_BLOCK_LEN
from wayra.base.errors import InvalidParameter
from wayra.plan.hardware import Hardware
from wayra.plan.mixers import Mixer
from wayra.plan.models import Architecture
from wayra.plan.quantity import Quantity, derived, given, number
from wayra.plan.stored import Stored

GPU_MEMORY_SHARE = 0.9
UNIFIED_MEMORY_SHARE = 0.75
CPU_MEMORY_SHARE = 0.9
GPU_RUNTIME_BYTES = 2e9
CPU_RUNTIME_BYTES = 64e6
CPU_TOKENIZER_BYTES = 268
GPU_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
MAX_BATCH = 1 << 16
MAX_CONTEXT = 1 << 30
ENCODER_BITS = 16
_ASSUMED = "assumed: the default of GPU engines"
_OF_UNIFIED = "what macOS lets the GPU take unless told: 73,728 of 98,304 MB, ggml-org/llama.cpp issue 3213"
_OF_CPU = "assumed: the rest is the system's"
_ASSUMED_ENCODER = "assumed: encoders of images are not quantised"
_MEASURED = "measured on this engine, 2026-11-21: Python, numpy, native library and tokenizer of two models"


@dataclass(frozen=True, slots=True)
class Buffers:
    """What an engine sets aside for a step. per_ffn: values of the feed-forward layer it holds a token and width.

    gate_rows: tokens whose gate and up it holds besides, where those of all tokens are never there at once.
    """

    step_tokens: int
    value_bytes: int
    per_ffn: int
    source: str
    gate_rows: int = 0


GPU_BUFFERS = Buffers(8192, 2, 3, _ASSUMED)
# The product of gate and up, and its quantised form, which is sized as the product.
CPU_BUFFERS = Buffers(512, 4, 2, "measured on this engine, 2026-11-21: peaks of five models")
GATE_ROWS_PER_THREAD = 64


@dataclass(frozen=True, slots=True)
class Request:
    """What is to fit: sequences at once, tokens of each, bits of a KV value."""

    batch: int
    context: int
    kv_bits: float = 16

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= MAX_BATCH:
            raise InvalidParameter(f"a batch of {self.batch:,}; expected 1 to {MAX_BATCH:,}")
        if not 1 <= self.context <= MAX_CONTEXT:
            raise InvalidParameter(f"a context of {self.context:,} tokens; expected 1 to {MAX_CONTEXT:,}")


@dataclass(frozen=True, slots=True)
class Fit:
    """The answer. total: of all cards. gpus: how many are needed, None when no number in reach is enough.

    max_context: at the batch asked for; max_batch: at the context asked for; 0 when the weights alone do not fit.
    why_not_fewer: a sentence.
    """

    weights: Quantity
    kv: Quantity
    activations: Quantity
    runtime: Quantity
    total: Quantity
    usable: Quantity
    gpus: int | None
    max_context: int
    max_batch: int
    why_not_fewer: str
    warnings: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return self.gpus is not None and self.total.value <= self.usable.value


def weights_bytes(model: Architecture, stored: Stored) -> Quantity:
    """All weights at their real bits; an encoder of images stays in 16, whatever the format."""
    where = f"{model.title}: {model.source}"
    encoder = lookups = ""
    images: list[Quantity] = []
    if model.lookups:
        lookups = " + lookups * table_bits"
        images.append(given("lookups", model.lookups, "", where, note="tables of which a token reads a row"))
    if model.image_parameters:
        encoder = " + image_encoder * encoder_bits"
        images += [
            given("image_encoder", model.image_parameters, "", where, note="encoder of images and its projection"),
            given("encoder_bits", ENCODER_BITS, "bit", _ASSUMED_ENCODER),
        ]
    return derived(
        "weights_bytes",
        "B",
        f"(linear * linear_bits + tables * embedding * table_bits + small * small_bits{lookups}{encoder}) / 8",
        given("linear", model.linear, "", where, note="projections and experts of all layers"),
        given("linear_bits", stored.linear_bits, "bit", f"{stored.name}: {stored.note}"),
        given("tables", model.tables, "", where, note="1 where the head is the embedding table"),
        given("embedding", model.embedding, "", where, note="vocabulary * hidden size"),
        given("table_bits", stored.table_bits, "bit", stored.name),
        given("small", model.small, "", where, note="norms, biases, routers, convolutions"),
        given("small_bits", stored.small_bits, "bit", stored.name),
        *images,
    )


def kv_bytes_per_token(model: Architecture, kv_bits: float) -> Quantity:
    """KV bytes one token adds while every layer keeps it."""
    growing = [mixer for mixer in model.mixing if mixer.token_values and not mixer.shares]
    if not model.mixers:
        where = f"{model.title}: {model.source}"
        return derived(
            "kv_bytes_per_token",
            "B",
            "2 * layers * kv_heads * head_dim * kv_bits / 8",
            given("layers", model.num_layers, "", where),
            given("kv_heads", model.num_kv_heads, "", where),
            given("head_dim", model.head_dim, "", where),
            given("kv_bits", kv_bits, "bit", "KV type"),
        )
    parts = [_token_bytes(model, mixer, kv_bits) for mixer in growing]
    if len(parts) == 1:
        return parts[0].named("kv_bytes_per_token")
    return derived("kv_bytes_per_token", "B", " + ".join(part.name for part in parts) or "0", *parts)


def _token_bytes(model: Architecture, mixer: Mixer, kv_bits: float) -> Quantity:
    where = f"{model.title}: {model.source}"
    bits = given("kv_bits", mixer.token_bits or kv_bits, "bit", mixer.name if mixer.token_bits else "KV type")
    copied = mixer.copies > 1
    copies = (given("copies", mixer.copies, "", "among the cards: they cannot share it further"),) if copied else ()
    return derived(
        f"{mixer.key}_bytes_per_token",
        "B",
        f"{'copies * ' if copied else ''}layers * token_values * kv_bits / 8",
        *copies,
        given("layers", mixer.layers, "", where, note=f"layers of {mixer.name}"),
        given("token_values", mixer.token_values, "", where, note=mixer.told),
        bits,
    )


def kv_bytes(model: Architecture, request: Request, *, block_len: int = 1) -> Quantity:
    """KV cache and states of all sequences; contexts are rounded up to whole blocks."""
    context = -(-request.context // block_len) * block_len
    note = "rounded up to whole blocks" if context != request.context else ""
    each = kv_bytes_per_sequence(model, given("context", context, "tok", "asked for", note=note), request.kv_bits)
    frees = any(mixer.window and mixer.frees for mixer in model.mixing)
    note = "where the engine frees what a window has passed; else all layers keep the whole context" if frees else ""
    batch = given("batch", request.batch, "", "asked for")
    return derived("kv_bytes", "B", "batch * kv_bytes_per_sequence", batch, each, note=note)


def kv_bytes_per_sequence(model: Architecture, context: Quantity, kv_bits: float) -> Quantity:
    """What a sequence of so many tokens keeps: of each, in layers with a window of those within it, and states."""
    if all(mixer.is_plain for mixer in model.mixing):
        per_token = kv_bytes_per_token(model, kv_bits)
        return derived("kv_bytes_per_sequence", "B", "context * kv_bytes_per_token", context, per_token)
    parts = [_kept(model, mixer, context, kv_bits) for mixer in model.mixing if not mixer.shares]
    return derived("kv_bytes_per_sequence", "B", " + ".join(part.name for part in parts), *parts)


def _kept(model: Architecture, mixer: Mixer, tokens: Quantity, kv_bits: float) -> Quantity:
    """What the layers of one kind keep of a sequence."""
    where = f"{model.title}: {model.source}"
    name = f"{mixer.key}_bytes"
    if mixer.state_bytes:
        return derived(
            name,
            "B",
            "layers * state_bytes",
            given("layers", mixer.layers, "", where, note=f"layers of {mixer.name}"),
            given("state_bytes", mixer.state_bytes, "B", where, note=f"of a sequence of any length: {mixer.told}"),
        )
    per_token = _token_bytes(model, mixer, kv_bits).named("bytes_per_token")
    if mixer.fixed_tokens:
        images = given(
            "image_tokens", mixer.fixed_tokens, "tok", where, note="one image a sequence, of the largest size"
        )
        return derived(name, "B", "image_tokens * bytes_per_token", images, per_token)
    if mixer.window and mixer.frees:
        window = given("window", mixer.window, "tok", where)
        return derived(name, "B", "min(context, window) * bytes_per_token", tokens, window, per_token)
    return derived(name, "B", "context * bytes_per_token", tokens, per_token)


def activation_bytes(model: Architecture, request: Request, buffers: Buffers) -> Quantity:
    """Activations of the largest step: residuals, Q K V, attention, gate and up of the widest layer; logits."""
    moe = model.experts
    width = max(model.ffn_size, moe.used * moe.ffn_size + moe.shared_ffn_size if moe else 0)
    where = f"{model.title}: {model.source}"
    tokens = min(buffers.step_tokens, max(request.batch * request.context, 1))
    values = "tokens * (3 * hidden + 2 * q_size + 2 * kv_size + ffn_buffers * ffn)"
    gates: list[Quantity] = []
    if buffers.gate_rows:
        values = f"({values} + gate_rows * 2 * ffn)"
        note = "few enough to stay in the caches"
        gates.append(given("gate_rows", min(tokens, buffers.gate_rows), "tok", buffers.source, note=note))
    return derived(
        "activation_bytes",
        "B",
        f"{values} * value_bytes + batch * vocab * 4",
        given("tokens", tokens, "tok", f"the largest step reads {buffers.step_tokens:,} tokens"),
        given("ffn_buffers", buffers.per_ffn, "", buffers.source),
        given("hidden", model.hidden_size, "", where),
        given("q_size", model.num_heads * model.head_dim, "", where),
        given("kv_size", model.num_kv_heads * model.head_dim, "", where),
        given("ffn", width, "", where),
        given("value_bytes", buffers.value_bytes, "B", "type of activations"),
        given("batch", request.batch, "", "asked for"),
        given("vocab", model.vocab_size, "", where),
        *gates,
    )


def buffers_of(hardware: Hardware) -> Buffers:
    """What engines on this kind of hardware set aside for a step."""
    if hardware.kind == "gpu":
        return GPU_BUFFERS
    rows = hardware.cores * GATE_ROWS_PER_THREAD or CPU_BUFFERS.step_tokens
    return replace(CPU_BUFFERS, gate_rows=min(rows, CPU_BUFFERS.step_tokens))


def runtime_bytes(model: Architecture, hardware: Hardware, gpus: int) -> Quantity:
    """What the engine takes besides the model."""
    if hardware.kind == "gpu":
        return derived(
            "runtime_bytes",
            "B",
            "gpus * runtime_bytes_each",
            given("gpus", gpus, "", "cards"),
            given("runtime_bytes_each", GPU_RUNTIME_BYTES, "B", _ASSUMED, note="context, graphs, workspace"),
        )
    return derived(
        "runtime_bytes",
        "B",
        "process_bytes + vocab * tokenizer_bytes",
        given("process_bytes", CPU_RUNTIME_BYTES, "B", _MEASURED),
        given("vocab", model.vocab_size, "", f"{model.title}: {model.source}"),
        given("tokenizer_bytes", CPU_TOKENIZER_BYTES, "B", _MEASURED, note="a token of the vocabulary"),
    )


def usable_bytes(hardware: Hardware, gpus: int) -> Quantity:
    """Memory a model may take; of the machine at hand all that is free now."""
    if hardware.measured:
        return given("usable_bytes", hardware.memory_bytes, "B", f"{hardware.title}: {hardware.source}")
    shares = {
        "gpu": (GPU_MEMORY_SHARE, _ASSUMED),
        "unified": (UNIFIED_MEMORY_SHARE, _OF_UNIFIED),
        "cpu": (CPU_MEMORY_SHARE, _OF_CPU),
    }
    share, source = shares[hardware.kind]
    return derived(
        "usable_bytes",
        "B",
        "gpus * memory_bytes * share",
        given("gpus", gpus, "", "cards, or machines without"),
        given("memory_bytes", hardware.memory_bytes, "B", f"{hardware.title}: {hardware.source}"),
        given("share", share, "", source),
    )


def kv_room_bytes(model: Architecture, stored: Stored, hardware: Hardware, gpus: int) -> float:
    """Bytes left for the KV cache; negative when the weights do not fit."""
    taken = weights_bytes(model, stored).value + runtime_bytes(model, hardware, gpus).value
    return usable_bytes(hardware, gpus).value - taken


def fit(model: Architecture, stored: Stored, hardware: Hardware, request: Request, gpus: int | None = None) -> Fit:
    """What the model takes and whether it fits. gpus: so many cards; None finds the fewest that hold it.

    Raises: InvalidParameter when the hardware cannot be had in that number.
    """
    if gpus is not None and not 1 <= gpus <= GPU_COUNTS[-1]:
        raise InvalidParameter(f"{gpus} GPUs; expected 1 to {GPU_COUNTS[-1]}")
    if gpus is not None and gpus > 1 and not hardware.link_bytes_per_s:
        raise InvalidParameter(f"{hardware.title} cannot share a model over {gpus}; ask for one")
    if gpus is not None and gpus > model.num_layers and (why := _why_not_shared(model, gpus)):
        raise InvalidParameter(f"{why}, and {model.title} has {model.num_layers} layers to share out; ask for fewer")
    counts = (gpus,) if gpus is not None else _counts(model) if hardware.link_bytes_per_s else (1,)
    found = next((n for n in counts if _slack(model, stored, hardware, request, n) >= 0), None)
    shown = found or counts[-1]
    return _answer(model, stored, hardware, request, shown, found is not None)


def _shared_heads(model: Architecture) -> int:
    """Query heads that tensor parallelism shares out among cards; 0 where no layer has any."""
    return model.num_heads if any(mixer.token_values for mixer in model.mixing) else 0


def _counts(model: Architecture) -> tuple[int, ...]:
    """Numbers of cards worth trying: those that divide the heads, as engines demand."""
    return tuple(count for count in GPU_COUNTS if shares_heads(model, count))


def shares_heads(model: Architecture, gpus: int) -> bool:
    """Whether engines share its layers among so many cards (tensor parallelism): what times are computed for."""
    return not _why_not_shared(model, gpus)


def _why_not_shared(model: Architecture, gpus: int) -> str:
    if (heads := _shared_heads(model)) % gpus:
        return f"{gpus} cards do not divide the {heads} heads"
    for mixer in model.mixing:
        kept = mixer.kv_heads if mixer.token_values else 1
        if kept % gpus and gpus % kept:
            return f"{gpus} cards neither divide the {kept} KV heads nor are a multiple of them"
    return ""


def _answer(model: Architecture, stored: Stored, hardware: Hardware, request: Request, gpus: int, enough: bool) -> Fit:
    parts = _parts(model, stored, hardware, request, gpus)
    total = derived("total_bytes", "B", "weights_bytes + kv_bytes + activation_bytes + runtime_bytes", *parts)

    def slack(batch: int, context: int) -> bool:
        return _slack(model, stored, hardware, Request(batch, context, request.kv_bits), gpus) >= 0

    return Fit(
        *parts,
        total,
        usable_bytes(hardware, gpus),
        gpus if enough else None,
        _largest(lambda n: slack(request.batch, n), model.context_len),
        _largest(lambda n: slack(n, request.context), MAX_BATCH),
        _why_not_fewer(model, stored, hardware, request, gpus, enough),
        _warnings(model, hardware, request, gpus),
    )


def _parts(
    model: Architecture, stored: Stored, hardware: Hardware, request: Request, gpus: int
) -> tuple[Quantity, Quantity, Quantity, Quantity]:
    # Cards that take whole layers each copy nothing.
    sharing = gpus if shares_heads(model, gpus) else 1
    return (
        weights_bytes(model, stored),
        kv_bytes(model.kept_on(hardware.kind, sharing), request, block_len=KV_BLOCK_LEN),
        activation_bytes(model, request, buffers_of(hardware)),
        runtime_bytes(model, hardware, gpus),
    )


def _slack(model: Architecture, stored: Stored, hardware: Hardware, request: Request, gpus: int) -> float:
    taken = sum(part.value for part in _parts(model, stored, hardware, request, gpus))
    return usable_bytes(hardware, gpus).value - taken


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 when 1 does not; what fits is monotone."""
    if not fits(1):
        return 0
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _why_not_fewer(
    model: Architecture, stored: Stored, hardware: Hardware, request: Request, gpus: int, enough: bool
) -> str:
    if enough and gpus == 1:
        return "one is enough"
    if enough:
        tried = (*_counts(model), gpus)
        fewest = next(n for n in tried if n >= gpus or _slack(model, stored, hardware, request, n) >= 0)
        if fewest < gpus:
            return f"{fewest} would do"
    fewer = gpus if not enough else max((n for n in _counts(model) if n < gpus), default=1)
    parts = _parts(model, stored, hardware, request, fewer)
    need, have = sum(part.value for part in parts), usable_bytes(hardware, fewer).value
    weights = parts[0].value
    reason = "the weights alone" if weights > have else "weights, KV cache, activations and runtime"
    taken = weights if weights > have else need
    plural = "" if fewer == 1 else f"{fewer} x "
    between = _between(model, fewer, gpus) if enough else ""
    return f"{reason} take {_gb(taken)}, {plural}{hardware.title} offers {_gb(have)}{between}"


def _between(model: Architecture, fewer: int, gpus: int) -> str:
    """Why no number in between was tried."""
    heads, skipped = _shared_heads(model), range(fewer + 1, gpus)
    if not skipped or any(heads % count == 0 for count in skipped):
        return ""
    told = f"{skipped[0]} does not divide" if len(skipped) == 1 else f"{skipped[0]} to {skipped[-1]} do not divide"
    return f"; {told} the {heads} heads"


def _warnings(model: Architecture, hardware: Hardware, request: Request, gpus: int) -> tuple[str, ...]:
    found: list[str] = []
    if request.context > model.context_len:
        found.append(f"{model.title} was made for {model.context_len:,} tokens; {request.context:,} go beyond it")
    found += copies_of_cache(model, gpus)
    if why := _why_not_shared(model, gpus):
        found.append(
            f"{why}: engines refuse to split layers so (tensor parallelism). The memory is that of cards which take "
            "whole layers each (pipeline parallelism); no times are computed for that"
        )
    if hardware.kind == "cpu" and (beyond := model.beyond_engine):
        found.append(f"this engine, which CPUs are planned with, runs no {beyond} yet")
    if not model.verified:
        found.append(f"the shape of {model.title}: {model.source}")
    if model.note:
        found.append(f"{model.title}: {model.note}")
    return tuple(found)


def _kv_heads(model: Architecture) -> int:
    """Heads whose keys and values are shared out; 0 where no layer keeps any."""
    return min((mixer.kv_heads for mixer in model.mixing if mixer.token_values), default=0)


def _is_latent(model: Architecture) -> bool:
    """One vector a token stands for all heads."""
    return any(mixer.token_values and mixer.kv_heads == 1 and mixer.kept_operations for mixer in model.mixing)


def copies_of_cache(model: Architecture, gpus: int) -> list[str]:
    """What to tell where the cache cannot be shared out among so many cards."""
    heads = _kv_heads(model)
    if not heads or gpus <= heads or _why_not_shared(model, gpus):
        return []
    if _is_latent(model):
        return [
            f"{gpus} cards, and one vector a token for all heads: where a request is split over the cards (tensor "
            f"parallelism), each keeps a copy, and the KV cache counts {gpus} times; where each card has requests of "
            "its own (data-parallel attention), it takes one of these parts"
        ]
    kept = "their keys and values count" if any(mixer.state_bytes for mixer in model.mixing) else "the KV cache counts"
    alike = len({mixer.kv_heads for mixer in model.mixing if mixer.token_values}) == 1
    where = "" if alike else " in layers with so few"
    return [f"{gpus} cards for {heads} KV heads: engines copy the heads, and {kept} {gpus / heads:g} times{where}"]


def _gb(count: float) -> str:
    return f"{number(count / 1e9)} GB"
