"""Model files of any shape and format with random weights, for figures that do not depend on what a model says.

The tokenizer is another file's. Written by the `gguf` package; it needs wayra[test].
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

SCALE = 0.02
ALIGNMENT_ROWS = 256


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense Llama. fmt: "Q8_0", "Q4_0" or "BF16", of every matrix."""

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    fmt: str
    context_len: int = 8192


def write_random_model(shape: Shape, tokenizer_of: Path, target: Path) -> None:
    """A GGUF file of this shape with the vocabulary of another one. Raises OSError when the disk is full."""
    fields: dict[str, Any] = dict(gguf.GGUFReader(tokenizer_of).fields)
    writer = gguf.GGUFWriter(target, arch="llama")
    for name, field in fields.items():
        if name.startswith("tokenizer."):
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    vocab_size = len(fields["tokenizer.ggml.tokens"].contents())
    writer.add_name(shape.name)
    writer.add_block_count(shape.num_layers)
    writer.add_context_length(shape.context_len)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_feed_forward_length(shape.ffn_size)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_vocab_size(vocab_size)
    noise = np.random.default_rng(1)
    for name, rows, columns in _matrices(shape, vocab_size):
        kind = gguf.GGMLQuantizationType[shape.fmt]
        writer.add_tensor(name, _random(noise, rows, columns, kind), raw_dtype=kind)
    for name in _norms(shape):
        writer.add_tensor(name, np.ones(shape.hidden_size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _matrices(shape: Shape, vocab_size: int) -> list[tuple[str, int, int]]:
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    found = [("token_embd.weight", vocab_size, shape.hidden_size)]
    for layer in range(shape.num_layers):
        found += [
            (f"blk.{layer}.attn_q.weight", q, shape.hidden_size),
            (f"blk.{layer}.attn_k.weight", kv, shape.hidden_size),
            (f"blk.{layer}.attn_v.weight", kv, shape.hidden_size),
            (f"blk.{layer}.attn_output.weight", shape.hidden_size, q),
            (f"blk.{layer}.ffn_gate.weight", shape.ffn_size, shape.hidden_size),
            (f"blk.{layer}.ffn_up.weight", shape.ffn_size, shape.hidden_size),
            (f"blk.{layer}.ffn_down.weight", shape.hidden_size, shape.ffn_size),
        ]
    return found


def _norms(shape: Shape) -> list[str]:
    layers = [f"blk.{i}.{name}.weight" for i in range(shape.num_layers) for name in ("attn_norm", "ffn_norm")]
    return [*layers, "output_norm.weight"]


def _random(noise: np.random.Generator, rows: int, columns: int, kind: gguf.GGMLQuantizationType) -> NDArray[np.uint8]:
    """Bytes [rows, bytes of a row]: few different rows, repeated, which nothing here can tell from many."""
    values = noise.standard_normal((min(rows, ALIGNMENT_ROWS), columns), np.float32) * np.float32(SCALE)
    some = np.ascontiguousarray(gguf.quants.quantize(values, kind)).view(np.uint8)
    return np.resize(some, (rows, some.shape[1]))
