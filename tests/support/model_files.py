"""Small model files made by hand, so that a test can say exactly which byte lies."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SCALAR_CODES = {
    "u8": (0, "<B"), "i8": (1, "<b"), "u16": (2, "<H"), "i16": (3, "<h"), "u32": (4, "<I"), "i32": (5, "<i"),
    "f32": (6, "<f"), "bool": (7, "<B"), "u64": (10, "<Q"), "i64": (11, "<q"), "f64": (12, "<d"),
}  # fmt: skip
STRING, ARRAY = 8, 9
F32 = 0


def text(value: str | bytes) -> bytes:
    stored = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(stored)) + stored


def key_value(key: str | bytes, kind: str, value: object) -> bytes:
    """One metadata entry; kind is a scalar's name, "str", or "[...]" for an array of it."""
    head = text(key)
    if kind == "str":
        return head + struct.pack("<I", STRING) + text(value)
    if kind == "[str]":
        return head + struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))
    if kind.startswith("["):
        type_id, code = SCALAR_CODES[kind[1:-1]]
        items = b"".join(struct.pack(code, item) for item in value)
        return head + struct.pack("<IIQ", ARRAY, type_id, len(value)) + items
    type_id, code = SCALAR_CODES[kind]
    return head + struct.pack("<I", type_id) + struct.pack(code, value)


@dataclass
class GgufTensor:
    """dims: as stored, the row's length first. offset None: after the tensor before it, aligned."""

    name: str | bytes
    dims: Sequence[int]
    data: bytes
    type_id: int = F32
    offset: int | None = None


@dataclass
class GgufFile:
    """What goes into a GGUF file; `num_keys` and `num_tensors` may lie."""

    entries: list[bytes] = field(default_factory=list)
    tensors: list[GgufTensor] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32
    num_keys: int | None = None
    num_tensors: int | None = None
    tail: bytes = b""

    def add(self, key: str | bytes, kind: str, value: object) -> "GgufFile":
        self.entries.append(key_value(key, kind, value))
        return self

    def add_array(self, name: str, values: np.ndarray) -> "GgufFile":
        """A float32 tensor."""
        self.tensors.append(GgufTensor(name, values.shape[::-1], values.astype("<f4").tobytes()))
        return self

    def build(self) -> bytes:
        num_keys = len(self.entries) if self.num_keys is None else self.num_keys
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        header = self.magic + struct.pack("<IQQ", self.version, num_tensors, num_keys) + b"".join(self.entries)
        data = b""
        for tensor in self.tensors:
            offset = len(data) if tensor.offset is None else tensor.offset
            header += text(tensor.name) + struct.pack("<I", len(tensor.dims))
            header += b"".join(struct.pack("<Q", dim) for dim in tensor.dims)
            header += struct.pack("<IQ", tensor.type_id, offset)
            data += tensor.data + bytes(-len(tensor.data) % self.alignment)
        header += bytes(-len(header) % self.alignment)
        return header + data + self.tail

    def write(self, path: Path) -> Path:
        path.write_bytes(self.build())
        return path


def safetensors_bytes(header: Mapping[str, object] | bytes, data: bytes = b"", header_len: int | None = None) -> bytes:
    """A safetensors file of just this header, which may lie."""
    stored = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(stored) if header_len is None else header_len) + stored + data


def pack_safetensors(arrays: Mapping[str, np.ndarray], dtype: str = "F32") -> bytes:
    """An honest safetensors file; F32, F16 or BF16 (truncated)."""
    header: dict[str, object] = {}
    data = b""
    for name, values in arrays.items():
        if dtype == "BF16":
            stored = (values.astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            stored = values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(stored)],
        }
        data += stored
    return safetensors_bytes(header, data)


@dataclass(frozen=True)
class TinyShape:
    """The numbers of a model small enough to be written out in a test."""

    layers: int = 2
    hidden: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 4
    ffn: int = 12
    vocab: int = 16
    tied: bool = True
    qkv_bias: bool = False


def tiny_arrays(shape: TinyShape, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under their Hugging Face names."""
    rng = np.random.default_rng(seed)
    q_size, kv_size = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocab, shape.hidden)}
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        shapes |= {
            at + "input_layernorm.weight": (shape.hidden,),
            at + "self_attn.q_proj.weight": (q_size, shape.hidden),
            at + "self_attn.k_proj.weight": (kv_size, shape.hidden),
            at + "self_attn.v_proj.weight": (kv_size, shape.hidden),
            at + "self_attn.o_proj.weight": (shape.hidden, q_size),
            at + "post_attention_layernorm.weight": (shape.hidden,),
            at + "mlp.gate_proj.weight": (shape.ffn, shape.hidden),
            at + "mlp.up_proj.weight": (shape.ffn, shape.hidden),
            at + "mlp.down_proj.weight": (shape.hidden, shape.ffn),
        }
        if shape.qkv_bias:
            shapes |= {
                at + "self_attn.q_proj.bias": (q_size,),
                at + "self_attn.k_proj.bias": (kv_size,),
                at + "self_attn.v_proj.bias": (kv_size,),
            }
    shapes["model.norm.weight"] = (shape.hidden,)
    if not shape.tied:
        shapes["lm_head.weight"] = (shape.vocab, shape.hidden)
    return {name: rng.normal(size=size).astype(np.float32) for name, size in shapes.items()}


def tiny_config(shape: TinyShape) -> dict[str, object]:
    """The config.json that goes with `tiny_arrays`."""
    return {
        "architectures": ["Qwen2ForCausalLM" if shape.qkv_bias else "LlamaForCausalLM"],
        "model_type": "qwen2" if shape.qkv_bias else "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": shape.tied,
        "hidden_act": "silu",
    }


GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    """model.layers.3.self_attn.q_proj.weight -> blk.3.attn_q.weight."""
    if name in GGUF_NAMES:
        return GGUF_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    stem, suffix = rest.rsplit(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[stem]}.{suffix}"


def interleave(values: np.ndarray, num_heads: int) -> np.ndarray:
    """What the GGUF converter does to Q and K of the "llama" architecture."""
    head_dim = values.shape[0] // num_heads
    halves = values.reshape(num_heads, 2, head_dim // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def tiny_gguf(shape: TinyShape, architecture: str = "llama", seed: int = 0) -> GgufFile:
    """The GGUF file a converter would make of `tiny_arrays` (no tokenizer)."""
    file = GgufFile().add("general.architecture", "str", architecture).add("general.name", "str", "tiny")
    for key, value in {
        "block_count": shape.layers, "context_length": 64, "embedding_length": shape.hidden,
        "feed_forward_length": shape.ffn, "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads, "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim, "rope.dimension_count": shape.head_dim, "vocab_size": shape.vocab,
    }.items():  # fmt: skip
        file.add(f"{architecture}.{key}", "u32", value)
    file.add(f"{architecture}.rope.freq_base", "f32", 10000.0)
    file.add(f"{architecture}.attention.layer_norm_rms_epsilon", "f32", 1e-5)
    file.add("tokenizer.ggml.tokens", "[str]", [f"t{i}" for i in range(shape.vocab)])
    for name, values in tiny_arrays(shape, seed).items():
        if architecture == "llama" and ".q_proj." in name:
            values = interleave(values, shape.heads)
        elif architecture == "llama" and ".k_proj." in name:
            values = interleave(values, shape.kv_heads)
        file.add_array(gguf_name(name), values)
    return file
