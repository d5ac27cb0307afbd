"""Sound model files, small edits that damage them, and the one rule: load them, or refuse with an error of ours."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from model_files import TinyShape, pack_safetensors, tiny_arrays, tiny_config, tiny_gguf

from wayra.base.errors import WayraError
from wayra.weights.formats import dequantise
from wayra.weights.loader import load_weights, model_spec, open_checkpoint

Edit = tuple[str, float, int]
"""(kind, where: 0 to 1 of the length, value: 0 to 2^64 - 1)."""

EDITS = ("bit", "byte", "u16", "u32", "u64", "cut", "drop", "repeat", "insert", "digit", "move")
TELLING_VALUES = (0, 1, 2, 7, 8, 9, 31, 32, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53,
                  2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1)  # fmt: skip
FRAGMENTS = (
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"-1", b"1e400", b"0.5", b"\\ud800", b"\xff", b"\0",
    b"../", b"9" * 30, b'"a":1,', b"true", b"GGUF", b'"weight_map"',
)  # fmt: skip


def apply(content: bytes, edits: Sequence[Edit]) -> bytes:
    """The content with each edit made in turn."""
    for kind, where, value in edits:
        content = _apply_one(bytearray(content), kind, min(int(where * len(content)), max(len(content) - 1, 0)), value)
    return content


def _apply_one(content: bytearray, kind: str, at: int, value: int) -> bytes:
    if not content:
        return bytes(content)
    if kind == "bit":
        content[at] ^= 1 << value % 8
    elif kind == "byte":
        content[at] = value % 256
    elif kind in ("u16", "u32", "u64"):
        width = int(kind[1:]) // 8
        content[at : at + width] = struct.pack("<Q", value)[:width]
    elif kind == "cut":
        del content[at:]
    elif kind == "drop":
        del content[at : at + 1 + value % 24]
    elif kind == "repeat":
        content[at:at] = content[at : at + 1 + value % 200]
    elif kind == "insert":
        content[at:at] = FRAGMENTS[value % len(FRAGMENTS)]
    elif kind == "digit":
        content[at] = b"0123456789-,]}"[value % 14]
    else:
        content[at : at + 8], content[value % len(content) :][:8] = content[value % len(content) :][:8], b""
    return bytes(content)


def write_seeds(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Sound models: name -> (path to open, file to damage)."""
    shape = TinyShape(layers=1, vocab=8, ffn=6)
    arrays = tiny_arrays(shape)
    seeds: dict[str, tuple[Path, Path]] = {}
    file = tiny_gguf(shape).add("general.alignment", "u32", 32).add("some.flags", "[bool]", [0, 1])
    file.add("llama.rope.scaling.type", "str", "linear").add("llama.rope.scaling.factor", "f32", 2.0)
    file.add_array("rope_freqs.weight", np.ones(shape.head_dim // 2))
    path = file.write(folder / "whole.gguf")
    seeds["gguf"] = (path, path)
    seeds["gguf split"] = _write_splits(folder, shape)
    single = folder / "single"
    single.mkdir()
    (single / "config.json").write_text(json.dumps(tiny_config(shape)))
    (single / "model.safetensors").write_bytes(pack_safetensors(arrays, "BF16"))
    seeds["safetensors"] = (single, single / "model.safetensors")
    seeds["config"] = (single, single / "config.json")
    sharded = folder / "sharded"
    sharded.mkdir()
    (sharded / "config.json").write_text(json.dumps(tiny_config(shape)))
    names = list(arrays)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[:5], names[5:]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        (sharded / shard).write_bytes(pack_safetensors({name: arrays[name] for name in part}))
        weight_map |= dict.fromkeys(part, shard)
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    seeds["index"] = (sharded, index)
    return seeds


def _write_splits(folder: Path, shape: TinyShape) -> tuple[Path, Path]:
    first, second = tiny_gguf(shape), tiny_gguf(shape)
    second.entries.clear()
    for number, file in enumerate((first, second)):
        file.tensors = file.tensors[number::2]
        file.add("split.no", "u16", number).add("split.count", "u16", 2).add("split.tensors.count", "i32", 11)
        file.write(folder / f"split-{number + 1:05}-of-00002.gguf")
    return folder / "split-00001-of-00002.gguf", folder / "split-00002-of-00002.gguf"


def outcome(path: Path) -> str:
    """Open a model and read everything in it: "loaded", or the name of the error of ours that refused it.

    Anything else that is raised is a bug, and escapes.
    """
    try:
        checkpoint = open_checkpoint(path)
        try:
            for value in checkpoint.metadata.values():
                if not isinstance(value, str | int | float | bool | None):
                    list(value)
            for name in checkpoint.tensors:
                try:
                    tensor = checkpoint.tensors[name]
                except WayraError:
                    continue
                dequantise(tensor.fmt, tensor.data, tensor.data.size // tensor.fmt.block_bytes * tensor.fmt.block_len)
            load_weights(checkpoint, model_spec(checkpoint))
        finally:
            checkpoint.close()
    except WayraError as error:
        str(error).encode("utf-8")
        return type(error).__name__
    return "loaded"
