"""int8 checkpoints with a scale a row: the same model as their weights multiplied out, on every backend."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from backend_batches import prompt_logits
from backend_registry import BACKENDS
from model_files import TinyShape, safetensors_bytes, tiny_arrays, tiny_config

from wayra.backends.api import BackendOptions, Model
from wayra.backends.numpy import NumpyBackend
from wayra.base.errors import FileFormatError, ShapeError, UnsupportedModel, WayraError
from wayra.model.record import record
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.row_scaled import scaled_rows

SHAPE = TinyShape(hidden=32, head_dim=16, heads=4, ffn=96, vocab=64, tied=False)
PROMPT = np.arange(40, dtype=np.int32)
OPTIONS = BackendOptions(kv_dtype="f32", threads=1, packed_cache=False)
W8A8: dict[str, object] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "ignore": ["lm_head"],
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
            "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
            "output_activations": None,
        }
    },
}
Stored = dict[str, tuple[str, np.ndarray]]


def stored_int8(arrays: Mapping[str, np.ndarray]) -> Stored:
    """Every linear layer in int8 with bfloat16 scales, the rest in float32, as llm-compressor leaves them."""
    found: Stored = {}
    for name, values in arrays.items():
        if "_proj" not in name:
            found[name] = ("F32", values)
            continue
        scale = (np.abs(values).max(axis=1, keepdims=True) / 127).view(np.uint32) >> 16
        exact = (scale << 16).view(np.float32)
        found[name] = ("I8", np.clip(np.rint(values / exact), -128, 127).astype(np.int8))
        found[f"{name}_scale"] = ("BF16", scale.astype("<u2"))
    return found


def multiplied_out(stored: Stored) -> Stored:
    plain: Stored = {}
    for name, (dtype, values) in stored.items():
        if dtype == "I8":
            scale = (stored[f"{name}_scale"][1].astype(np.uint32) << 16).view(np.float32)
            plain[name] = ("F32", values.astype(np.float32) * scale)
        elif not name.endswith("_scale"):
            plain[name] = (dtype, values)
    return plain


def write(folder: Path, stored: Stored, quantisation: object = None) -> Path:
    folder.mkdir()
    header: dict[str, object] = {}
    data = b""
    for name, (dtype, values) in stored.items():
        content = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(content)],
        }  # fmt: skip
        data += content
    (folder / "model.safetensors").write_bytes(safetensors_bytes(header, data))
    config = tiny_config(SHAPE) | ({"quantization_config": quantisation} if quantisation is not None else {})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run(path: Path, backend: NumpyBackend | None = None, name: str | None = None) -> np.ndarray:
    checkpoint = open_checkpoint(path)
    spec = model_spec(checkpoint)
    weights = load_weights(checkpoint, spec)
    model: Model = (
        backend.load(record(spec), weights, OPTIONS)
        if backend is not None
        else BACKENDS[str(name)](record(spec), weights, OPTIONS)
    )
    return prompt_logits(model, PROMPT)


def test_int8_weights_are_those_multiplied_out(tmp_path: Path) -> None:
    stored = stored_int8(tiny_arrays(SHAPE))
    exact = NumpyBackend("float")
    found = run(write(tmp_path / "int8", stored, W8A8), exact)
    np.testing.assert_array_equal(found, run(write(tmp_path / "plain", multiplied_out(stored)), exact))


@pytest.mark.parametrize("name", list(BACKENDS))
def test_every_backend_follows_the_definition(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "int8", stored_int8(tiny_arrays(SHAPE)), W8A8)
    found, wanted = run(path, name=name), run(path, NumpyBackend("rounded"))
    error = np.square(found - wanted).mean() / np.square(wanted).mean()
    assert error < 1e-5


def test_a_row_begins_with_its_scale(tmp_path: Path) -> None:
    stored = stored_int8(tiny_arrays(SHAPE))
    checkpoint = open_checkpoint(write(tmp_path / "int8", stored, W8A8))
    part = load_weights(checkpoint, model_spec(checkpoint)).matrices["layers.1.down"].parts[0]
    rows = scaled_rows(part).reshape(part.rows, 4 + part.cols)
    values = rows[:, 4:].view(np.int8) * rows[:, :4].copy().view("<f4")
    np.testing.assert_array_equal(values, multiplied_out(stored)["model.layers.1.mlp.down_proj.weight"][1])


@pytest.mark.parametrize("scale", [1e-12, 1 / 3, 1e6])
def test_scales_keep_every_bit_of_a_float32(tmp_path: Path, scale: float) -> None:
    stored = stored_int8(tiny_arrays(SHAPE)) | {SCALE: ("F32", np.full((32, 1), scale, np.float32))}
    checkpoint = open_checkpoint(write(tmp_path / "int8", stored, W8A8))
    part = load_weights(checkpoint, model_spec(checkpoint)).matrices["layers.0.o"].parts[0]
    assert part.row_scale is not None
    np.testing.assert_array_equal(part.row_scale, np.full(32, scale, np.float32))


def _with(group: str, **changed: object) -> dict[str, object]:
    scheme: dict[str, dict[str, dict[str, object]]] = json.loads(json.dumps(W8A8["config_groups"]))
    scheme["group_0"][group].update(changed)
    return {**W8A8, "config_groups": scheme}


@pytest.mark.parametrize(
    "config",
    [
        "int8",
        {**W8A8, "quant_method": "gptq"},
        {**W8A8, "format": "pack-quantized"},
        {**W8A8, "kv_cache_scheme": {"num_bits": 8}},
        {**W8A8, "config_groups": {}},
        {**W8A8, "config_groups": {"group_0": 3}},
        {**W8A8, "config_groups": {"group_0": {"weights": None}}},
        _with("weights", num_bits=4),
        _with("weights", num_bits=8.0),
        _with("weights", type="float"),
        _with("weights", symmetric=False),
        _with("weights", strategy="group", group_size=128),
        _with("input_activations", type="float"),
        _with("input_activations", dynamic=False),
    ],
    ids=str,
)
def test_other_quantisations_are_refused_with_what_was_seen(tmp_path: Path, config: object) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "m", stored_int8(tiny_arrays(SHAPE)), config))
    with pytest.raises(UnsupportedModel, match="quantised in a way wayra does not follow"):
        model_spec(checkpoint)


NAME = "model.layers.0.self_attn.o_proj.weight"
SCALE = f"{NAME}_scale"


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({SCALE: None}, FileFormatError, "lacks .*weight_scale"),
        ({SCALE: ("F32", np.ones((32, 2), np.float32))}, ShapeError, "one scale a row"),
        ({SCALE: ("F32", np.full((32, 1), np.nan, np.float32))}, FileFormatError, "not finite"),
        ({SCALE: ("F32", np.full((32, 1), -1, np.float32))}, FileFormatError, "negative"),
        ({SCALE: ("I8", np.ones((32, 1), np.int8))}, FileFormatError, "expected floats"),
        ({"model.norm.weight": ("I8", np.ones(32, np.int8))}, UnsupportedModel, "stored as int8"),
    ],
)
def test_scales_that_are_none_are_named(
    tmp_path: Path, changed: dict[str, tuple[str, np.ndarray] | None], error: type[WayraError], words: str
) -> None:
    stored = stored_int8(tiny_arrays(SHAPE)) | changed
    path = write(tmp_path / "m", {name: entry for name, entry in stored.items() if entry is not None}, W8A8)
    checkpoint = open_checkpoint(path)
    with pytest.raises(error, match=words):
        load_weights(checkpoint, model_spec(checkpoint))


def test_rows_that_are_no_whole_blocks_are_refused(tmp_path: Path) -> None:
    stored = stored_int8(tiny_arrays(SHAPE))
    for layer in range(SHAPE.layers):
        for name in (f"model.layers.{layer}.mlp.{part}_proj.weight" for part in ("gate", "up", "down")):
            values = stored[name][1]
            stored[name] = ("I8", values[:, :90] if "down" in name else values[:90])
            stored[f"{name}_scale"] = ("BF16", stored[f"{name}_scale"][1][: stored[name][1].shape[0]])
    path = write(tmp_path / "m", stored, W8A8)
    config = json.loads((path / "config.json").read_text()) | {"intermediate_size": 90}
    (path / "config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(path)
    with pytest.raises(UnsupportedModel, match="hold 90 int8 weights, expected a multiple of 32"):
        load_weights(checkpoint, model_spec(checkpoint))
