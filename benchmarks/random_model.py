"""Writes a GGUF model of a known shape with random weights, for timing shapes and formats that cannot be fetched.

python benchmarks/random_model.py 1b Q4_0 llama1b-Q4_0.gguf

Speed and memory depend on the shape and the format, not on what the weights say; what such a model writes is noise. It
has the default model's tokenizer, filled up to the shape's vocabulary. Needs the gguf package.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from wayra.base import formats
from wayra.base.errors import WayraError
from wayra.base.formats import WeightFormat
from wayra.base.settings import from_environment
from wayra.weights.gguf import open_gguf
from wayra.weights.sources import resolve
from wayra.weights.sources.aliases import DEFAULT_MODEL

ARCHITECTURE = "llama"
CHUNK_BLOCKS = 1 << 16
# Where a block holds its float16 scales, and how large they must be for weights of about one.
SCALES: Mapping[str, Mapping[int, float]] = {
    "Q4_0": {0: 1 / 5}, "Q4_1": {0: 1 / 5, 2: -1.5}, "Q5_0": {0: 1 / 10}, "Q5_1": {0: 1 / 10, 2: -1.5},
    "Q8_0": {0: 1 / 74}, "Q2_K": {80: 1 / 12, 82: 1 / 6}, "Q3_K": {108: 1 / 42}, "Q4_K": {0: 1 / 140, 2: 1 / 24},
    "Q5_K": {0: 1 / 290, 2: 1 / 24}, "Q6_K": {208: 1 / 1400},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense Llama."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool
    rope_base: float
    context_len: int = 131_072


# Those of Meta's Llama 3.2 1B, Llama 3.1 8B, and of the default model.
SHAPES: Mapping[str, Shape] = {
    "135m": Shape(30, 576, 9, 3, 64, 1536, 49152, True, 10000.0),
    "1b": Shape(16, 2048, 32, 8, 64, 8192, 128256, True, 500000.0),
    "8b": Shape(32, 4096, 32, 8, 128, 14336, 128256, False, 500000.0),
}


def random_blocks(fmt: WeightFormat, rows: int, cols: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """[rows, bytes of a row]: weights of standard deviation about 1 / sqrt(cols). One stretch of blocks, repeated."""
    count = rows * cols // fmt.block_len
    distinct = min(count, CHUNK_BLOCKS)
    spread = 1 / np.sqrt(cols)
    if not fmt.is_quantised:
        values = rng.normal(0, spread, distinct).astype(np.float32)
        if fmt == formats.BF16:
            blocks = (values.view(np.uint32) >> 16).astype("<u2").view(np.uint8)
        else:
            blocks = values.astype("<f4" if fmt == formats.F32 else "<f2").view(np.uint8)
    else:
        blocks = rng.integers(0, 256, (distinct, fmt.block_bytes), np.uint8)
        for offset, scale in SCALES[fmt.name].items():
            scales = (spread * scale * rng.uniform(0.8, 1.2, distinct)).astype("<f2")
            blocks[:, offset : offset + 2] = scales[:, None].view(np.uint8)
    return np.resize(blocks.reshape(-1), (rows, cols // fmt.block_len * fmt.block_bytes))


def tensors_of(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name -> row-major shape, in the order of the file."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.vocab, shape.hidden)}
    for layer in range(shape.layers):
        at = f"blk.{layer}."
        found |= {
            at + "attn_norm.weight": (shape.hidden,),
            at + "attn_q.weight": (q, shape.hidden),
            at + "attn_k.weight": (kv, shape.hidden),
            at + "attn_v.weight": (kv, shape.hidden),
            at + "attn_output.weight": (shape.hidden, q),
            at + "ffn_norm.weight": (shape.hidden,),
            at + "ffn_gate.weight": (shape.ffn, shape.hidden),
            at + "ffn_up.weight": (shape.ffn, shape.hidden),
            at + "ffn_down.weight": (shape.hidden, shape.ffn),
        }
    found["output_norm.weight"] = (shape.hidden,)
    if not shape.tied:
        found["output.weight"] = (shape.vocab, shape.hidden)
    return found


def write_model(
    name: str, shape: Shape, fmt: WeightFormat, path: Path, report: Callable[[str], None] = lambda _: None
) -> None:
    """Write a shape in one format throughout (norms in float32). Raises OSError, WayraError."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    _describe(writer, name, shape)
    _add_tokenizer(writer, shape.vocab)
    kind = gguf.GGMLQuantizationType[fmt.name]
    tensors = tensors_of(shape)
    for tensor, dims in tensors.items():
        if len(dims) == 1:
            writer.add_tensor_info(tensor, dims, np.dtype(np.float32), 4 * dims[0])
        else:
            row_bytes = fmt.row_bytes(dims[1])
            writer.add_tensor_info(tensor, (dims[0], row_bytes), np.dtype(np.uint8), dims[0] * row_bytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for number, dims in enumerate(tensors.values()):
        data = np.ones(dims, np.float32) if len(dims) == 1 else random_blocks(fmt, dims[0], dims[1], rng)
        writer.write_tensor_data(data)
        if number % 50 == 0:
            report(f"{number} of {len(tensors)} tensors")
    writer.close()


def _describe(writer: gguf.GGUFWriter, name: str, shape: Shape) -> None:
    writer.add_name(name)
    writer.add_context_length(shape.context_len)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocab)


def _add_tokenizer(writer: gguf.GGUFWriter, vocab: int) -> None:
    checkpoint = open_gguf(resolve(DEFAULT_MODEL, from_environment()).path)
    try:
        known = dict(checkpoint.metadata)
    finally:
        checkpoint.close()
    tokens = [str(token) for token in np.asarray(known["tokenizer.ggml.tokens"], dtype=object)]
    kinds = [int(kind) for kind in np.asarray(known["tokenizer.ggml.token_type"])]
    unused = vocab - len(tokens)
    writer.add_tokenizer_model(str(known["tokenizer.ggml.model"]))
    writer.add_tokenizer_pre(str(known["tokenizer.ggml.pre"]))
    writer.add_token_list([*tokens, *(f"<|unused_{number}|>" for number in range(unused))])
    writer.add_token_types([*kinds, *([gguf.TokenType.UNUSED] * unused)])
    writer.add_token_merges([str(merge) for merge in np.asarray(known["tokenizer.ggml.merges"], dtype=object)])
    writer.add_bos_token_id(int(str(known["tokenizer.ggml.bos_token_id"])))
    writer.add_eos_token_id(int(str(known["tokenizer.ggml.eos_token_id"])))
    writer.add_chat_template(str(known["tokenizer.chat_template"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("format", choices=[fmt.name for fmt in formats.ALL])
    parser.add_argument("path", type=Path, metavar="FILE", help="what to write; it must not exist")
    arguments = parser.parse_args()
    fmt, shape = formats.BY_NAME[arguments.format], SHAPES[arguments.shape]
    if arguments.path.exists():
        parser.error(f"{arguments.path} exists; name another file")
    if any(len(dims) == 2 and dims[1] % fmt.block_len for dims in tensors_of(shape).values()):
        parser.error(f"{arguments.shape} has rows that are no whole number of {fmt.name} blocks of {fmt.block_len}")
    try:
        named = f"random-{arguments.shape}"
        write_model(named, shape, fmt, arguments.path, lambda text: print(text, file=sys.stderr))
    except (OSError, WayraError) as error:
        arguments.path.unlink(missing_ok=True)
        parser.error(str(error))
    print(f"{arguments.path}: {arguments.path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
