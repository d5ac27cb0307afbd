"""How weights are stored: real bits a weight, block scales included, in this engine and in GPU engines."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wayra.base.errors import InvalidParameter
from wayra.base.formats import BY_NAME
from wayra.plan.models import Architecture


@dataclass(frozen=True, slots=True)
class Stored:
    """A storage format of a whole model.

    linear_bits: a weight of the projections and experts, scales included. table_bits: of embedding and head.
    small_bits: of norms, biases and routers. maths: the units the products run in ("bf16", "fp8", "int8", "fp4").
    note: what the bits are made of. product_work: in this engine, what the multipliers do for a product and for the
    scales of its group, by the product alone.
    """

    name: str
    linear_bits: float
    table_bits: float
    small_bits: float
    maths: str
    note: str
    product_work: float = 1.0


@dataclass(frozen=True, slots=True)
class TensorBytes:
    """Of a file's own tensors. tables: embedding and head, small: norms, biases and routers."""

    linear: int
    tables: int
    small: int


def as_stored(model: Architecture, found: TensorBytes, *, quantised: bool, source: str, work: float = 1.0) -> Stored:
    """Mean bits of a file's tensors, so that the planner's formula gives their exact bytes. work: `product_work`."""
    return Stored(
        "as stored",
        found.linear * 8 / model.linear,
        found.tables * 8 / (model.tables * model.embedding + model.lookups),
        found.small * 8 / model.small,
        "int8" if quantised else "bf16",
        f"mean over the tensors of {source}",
        work,
    )


# Of 32 products with 512-bit instructions (docs/kernels.md): 8 of bytes, each as long as a multiplication of floats. A
# group's sum takes two of those, a minimum another; halves of a group with scales of their own take one more, with
# minima of their own two besides. Words of 16 bits take 16 and the sum's two, floats 32.
_INT8_WORK: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0"), 10 / 8),
        **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K", "Q3_K", "Q6_K"), 11 / 8),
        "Q2_K": 13 / 8,
    }
)
_FLOAT_WORK: Mapping[str, float] = MappingProxyType({"F16": 18 / 16, "F32": 32 / 16})


def product_work(fmt: str) -> float:
    """`Stored.product_work` of a format of GGUF files; 1 for what is multiplied as it is."""
    return _INT8_WORK.get(fmt) or _FLOAT_WORK.get(fmt, 1.0)


def _gpu(name: str, bits: float, maths: str, note: str, work: float = 1.0) -> Stored:
    return Stored(name, bits, 16, 16, maths, f"{note}; embedding, head and norms 16 bit", work)


def _gguf(name: str) -> Stored:
    fmt = BY_NAME[name.upper()]
    bits = fmt.bits_per_weight
    note = f"blocks of {fmt.block_len} weights in {fmt.block_bytes} bytes; norms 32 bit"
    return Stored(name, bits, bits, 32, "int8" if fmt.is_quantised else "bf16", note, product_work(fmt.name))


# The "M" mix raises the head and half of the value and down projections to Q6_K. Their shares differ between shapes,
# so files differ from these bits by about two percent.
_Q4_K_M = Stored(
    "q4_k_m",
    4.83,
    5.53,
    32,
    "int8",
    "Q4_K, with Q6_K for the head and half of value and down projections",
    product_work("Q4_K"),  # and that of Q6_K
)

FORMATS: Mapping[str, Stored] = MappingProxyType(
    {
        row.name: row
        for row in (
            Stored("fp32", 32, 32, 32, "bf16", "4 bytes a weight", product_work("F32")),
            _gpu("bf16", 16, "bf16", "2 bytes a weight"),
            _gpu("fp16", 16, "bf16", "2 bytes a weight", product_work("F16")),
            _gpu("fp8", 8, "fp8", "1 byte a weight, one scale a tensor or row"),
            _gpu("int8", 8, "int8", "1 byte a weight, one scale a row"),
            _gpu("awq-int4", 4 + 16 / 128 + 4 / 128, "bf16", "4 bit, a 16-bit scale and a 4-bit zero a group of 128"),
            _gpu("gptq-int4", 4 + 16 / 128 + 4 / 128, "bf16", "4 bit, a 16-bit scale and a 4-bit zero a group of 128"),
            _gpu("nf4", 4 + 8 / 64 + 32 / (64 * 256), "bf16", "4 bit, an 8-bit scale a block of 64, scaled twice"),
            _gpu("nvfp4", 4 + 8 / 16, "fp4", "4 bit, an 8-bit scale a block of 16"),
            _gpu("mxfp4", 4 + 8 / 32, "fp4", "4 bit, an 8-bit scale a block of 32"),
            _Q4_K_M,
            *(_gguf(n) for n in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k")),
        )
    }
)
_ALIASES: Mapping[str, str] = MappingProxyType(
    {"f16": "fp16", "f32": "fp32", "int4": "awq-int4", "awq": "awq-int4", "gptq": "gptq-int4", "fp4": "nvfp4"}
)
KV_BITS: Mapping[str, float] = MappingProxyType(
    {"bf16": 16, "fp16": 16, "f16": 16, "int16": 16, "fp8": 8, "int8": 8, "f32": 32}
)


def stored_as(name: str) -> Stored:
    """A format by name. Raises InvalidParameter on an unknown one, with the nearest."""
    key = name.strip().lower()
    found = FORMATS.get(_ALIASES.get(key, key))
    if found is None:
        near = ", ".join(difflib.get_close_matches(key, [*FORMATS, *_ALIASES], n=3, cutoff=0.3) or FORMATS)
        raise InvalidParameter(f"the planner knows no weight format {name[:40]!r}; nearest: {near}")
    return found


def kv_bits(name: str) -> float:
    """Bits of a KV value. Raises InvalidParameter on an unknown type."""
    if name.lower() not in KV_BITS:
        raise InvalidParameter(f"there is no KV type {name[:40]!r}; known: {', '.join(KV_BITS)}")
    return KV_BITS[name.lower()]
