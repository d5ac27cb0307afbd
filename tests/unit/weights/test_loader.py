"""Which file a path is, and how its tensors fill the slots of a model."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from model_files import (
    GgufFile,
    GgufTensor,
    TinyShape,
    gguf_name,
    interleave,
    pack_safetensors,
    tiny_arrays,
    tiny_config,
    tiny_gguf,
)

from wayra.base.errors import FileFormatError, ModelNotFound, ShapeError, UnsupportedModel
from wayra.model.families import slots
from wayra.model.rope import rope_frequencies
from wayra.weights.formats import dequantise
from wayra.weights.loader import half_split_row_order, load_weights, model_spec, open_checkpoint
from wayra.weights.tensors import ModelWeights, Weight

SHAPES = {
    "tied": TinyShape(),
    "untied": TinyShape(tied=False),
    "biases": TinyShape(qkv_bias=True),
    "heads wider than hidden": TinyShape(hidden=6, heads=3, kv_heads=1, head_dim=10, ffn=7, vocab=5),
}


def write_folder(folder: Path, arrays: dict[str, np.ndarray], config: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(pack_safetensors(arrays))
    return folder


def load(path: Path) -> ModelWeights:
    checkpoint = open_checkpoint(path)
    return load_weights(checkpoint, model_spec(checkpoint))


def decoded(weight: Weight) -> np.ndarray:
    """The matrix a backend computes with, float32 [rows, cols]."""
    parts: list[np.ndarray] = []
    for part in weight.parts:
        values = dequantise(part.tensor.fmt, part.tensor.data, part.rows * part.cols).reshape(part.rows, part.cols)
        parts.append(values if part.row_order is None else values[part.row_order])
    return np.concatenate(parts)


def expected_slots(arrays: dict[str, np.ndarray], shape: TinyShape) -> dict[str, np.ndarray]:
    """Slot contents, written out from the Hugging Face names."""
    found = {"embed": arrays["model.embed_tokens.weight"], "final_norm": arrays["model.norm.weight"]}
    if not shape.tied:
        found["head"] = arrays["lm_head.weight"]
    for layer in range(shape.layers):
        at, slot = f"model.layers.{layer}.", f"layers.{layer}."
        found[slot + "attn_norm"] = arrays[at + "input_layernorm.weight"]
        found[slot + "ffn_norm"] = arrays[at + "post_attention_layernorm.weight"]
        found[slot + "qkv"] = np.concatenate([arrays[f"{at}self_attn.{part}_proj.weight"] for part in "qkv"])
        found[slot + "o"] = arrays[at + "self_attn.o_proj.weight"]
        found[slot + "gate_up"] = np.concatenate([arrays[f"{at}mlp.{part}_proj.weight"] for part in ("gate", "up")])
        found[slot + "down"] = arrays[at + "mlp.down_proj.weight"]
        if shape.qkv_bias:
            found[slot + "qkv_bias"] = np.concatenate([arrays[f"{at}self_attn.{part}_proj.bias"] for part in "qkv"])
    return found


def check_slots(weights: ModelWeights, expected: dict[str, np.ndarray]) -> None:
    assert set(weights.matrices) | set(weights.vectors) == set(expected) | {"rope_inv_freq"}
    for name, values in expected.items():
        ours = decoded(weights.matrices[name]) if values.ndim == 2 else weights.vectors[name]
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, values, err_msg=name)


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("prefix", ["model.", ""])
def test_a_hugging_face_folder_fills_every_slot(tmp_path: Path, case: str, prefix: str) -> None:
    shape = SHAPES[case]
    arrays = tiny_arrays(shape)
    stored = {name.replace("model.", prefix, 1): values for name, values in arrays.items()}
    check_slots(load(write_folder(tmp_path / "m", stored, tiny_config(shape))), expected_slots(arrays, shape))


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_gguf_file_fills_every_slot_with_the_same_matrices(tmp_path: Path, case: str, architecture: str) -> None:
    shape = dataclasses.replace(SHAPES[case], qkv_bias=architecture == "qwen2")
    path = tiny_gguf(shape, architecture).write(tmp_path / "m.gguf")
    check_slots(load(path), expected_slots(tiny_arrays(shape), shape))


def test_biases_of_an_interleaved_model_are_reordered_with_their_rows(tmp_path: Path) -> None:
    shape = TinyShape(qkv_bias=True)
    path = tiny_gguf(shape, "llama").write(tmp_path / "m.gguf")
    check_slots(load(path), expected_slots(tiny_arrays(shape), shape))


def test_row_order_of_a_hand_made_example() -> None:
    # Two heads of six rows, four of which turn. Stored pairs: rows (0, 1) and (2, 3); half-split: (0, 2) and (1, 3).
    assert half_split_row_order(2, 6, 4).tolist() == [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]
    assert half_split_row_order(1, 4, 4).tolist() == [0, 2, 1, 3]
    assert half_split_row_order(1, 4, 4).dtype == np.int32


def test_reordering_undoes_what_the_converter_does() -> None:
    rows = np.arange(3 * 8 * 2).reshape(24, 2)
    stored = interleave(rows, num_heads=3)
    assert stored[:4, 0].tolist() == [0, 8, 2, 10]
    np.testing.assert_array_equal(stored[half_split_row_order(3, 8, 8)], rows)


@pytest.mark.parametrize("rotary_dim", [4, 8])
def test_both_layouts_turn_queries_to_the_same_scores(rotary_dim: int) -> None:
    """Rotating interleaved pairs of the stored rows and half-split pairs of the reordered ones gives equal q . k."""
    rng = np.random.default_rng(0)
    stored_q, stored_k = rng.normal(size=(2, 8))
    order = half_split_row_order(1, 8, rotary_dim)
    angles = np.arange(1, rotary_dim // 2 + 1) * 0.3

    def turn(values: np.ndarray, first: np.ndarray, second: np.ndarray, position: int) -> np.ndarray:
        cos, sin = np.cos(position * angles), np.sin(position * angles)
        turned = values.copy()
        turned[first] = values[first] * cos - values[second] * sin
        turned[second] = values[first] * sin + values[second] * cos
        return turned

    pairs = np.arange(rotary_dim // 2)
    interleaved = turn(stored_q, 2 * pairs, 2 * pairs + 1, 5) @ turn(stored_k, 2 * pairs, 2 * pairs + 1, 2)
    halves = pairs + rotary_dim // 2
    split = turn(stored_q[order], pairs, halves, 5) @ turn(stored_k[order], pairs, halves, 2)
    assert split == pytest.approx(interleaved, abs=1e-12)


def test_the_real_model_fills_every_slot(smollm2_path: Path) -> None:
    checkpoint = open_checkpoint(smollm2_path)
    spec = model_spec(checkpoint)
    weights = load_weights(checkpoint, spec)
    for slot in slots(spec):
        if slot.kind == "matrix":
            weight = weights.matrices[slot.name]
            assert (weight.rows, weight.cols) == slot.shape
        else:
            assert weights.vectors[slot.name].shape == slot.shape
    assert weights.digest == checkpoint.digest
    assert weights.matrices["layers.0.qkv"].parts[1].tensor.name == "blk.0.attn_k.weight"
    # Norm weights of a trained model are near one; a wrong offset would not be.
    assert 0.01 < float(np.abs(weights.vectors["final_norm"]).mean()) < 100


def test_rotary_factors_of_the_file_divide_the_frequencies(tmp_path: Path) -> None:
    shape = TinyShape(head_dim=8)
    path = tiny_gguf(shape).add_array("rope_freqs.weight", np.float32([1, 2, 4, 8])).write(tmp_path / "m.gguf")
    spec = model_spec(open_checkpoint(path))
    plain, _ = rope_frequencies(spec.rope, spec.context_len)
    np.testing.assert_array_equal(load(path).vectors["rope_inv_freq"], plain / np.float32([1, 2, 4, 8]))
    path = tiny_gguf(shape).write(tmp_path / "plain.gguf")
    np.testing.assert_array_equal(load(path).vectors["rope_inv_freq"], plain)


@pytest.mark.parametrize("factors", [[1, 0], [1, -1], [1, np.nan], [np.inf, 1], [1e-44, 1]])
def test_rotary_factors_that_are_no_divisors_are_refused(tmp_path: Path, factors: list[float]) -> None:
    path = tiny_gguf(TinyShape()).add_array("rope_freqs.weight", np.float32(factors)).write(tmp_path / "m.gguf")
    with pytest.raises(FileFormatError, match="not positive or far too small"):
        load(path)


def test_rotary_factors_of_another_length_are_refused(tmp_path: Path) -> None:
    path = tiny_gguf(TinyShape()).add_array("rope_freqs.weight", np.ones(3)).write(tmp_path / "m.gguf")
    with pytest.raises(ShapeError, match=r"rope_freqs.weight.*\[3\].*\[2\]"):
        load(path)


@pytest.mark.parametrize("name", sorted(tiny_arrays(TinyShape(layers=1, tied=False))))
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    shape = TinyShape(layers=1, tied=False)
    arrays = tiny_arrays(shape)
    del arrays[name]
    if name == "model.embed_tokens.weight":
        name = "embed_tokens.weight"
    with pytest.raises(FileFormatError, match=f"lacks the tensor '(model\\.)?{name}'"):
        load(write_folder(tmp_path / "m", arrays, tiny_config(shape)))


@pytest.mark.parametrize("name", sorted(tiny_arrays(TinyShape(layers=1, tied=False))))
def test_a_tensor_of_another_shape_is_named(tmp_path: Path, name: str) -> None:
    shape = TinyShape(layers=1, tied=False)
    arrays = tiny_arrays(shape)
    arrays[name] = np.concatenate([arrays[name], arrays[name][:1]])
    with pytest.raises(ShapeError, match=name):
        load(write_folder(tmp_path / "m", arrays, tiny_config(shape)))


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.mlp.experts.0.gate_proj.weight",
        "model.layers.7.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.weight_scale",
        "lora_A",
    ],
)
def test_a_tensor_that_would_change_the_answers_is_refused(tmp_path: Path, name: str) -> None:
    shape = TinyShape()
    arrays = tiny_arrays(shape) | {name: np.ones(8)}
    with pytest.raises(UnsupportedModel, match=name):
        load(write_folder(tmp_path / "m", arrays, tiny_config(shape)))


@pytest.mark.parametrize("name", ["blk.0.ffn_gate_inp.weight", "blk.0.attn_q_norm.weight", "rope_factors_long.weight"])
def test_a_gguf_tensor_that_would_change_the_answers_is_refused(tmp_path: Path, name: str) -> None:
    path = tiny_gguf(TinyShape()).add_array(name, np.ones(8)).write(tmp_path / "m.gguf")
    with pytest.raises(UnsupportedModel, match=name):
        load(path)


def test_tensors_that_are_computed_anyway_may_be_stored(tmp_path: Path) -> None:
    shape = TinyShape(layers=1)
    arrays = tiny_arrays(shape)
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2),
        "model.rotary_emb.inv_freq": np.ones(2),
        "lm_head.weight": arrays["model.embed_tokens.weight"],
    }
    weights = load(write_folder(tmp_path / "m", arrays | extra, tiny_config(shape)))
    check_slots(weights, expected_slots(arrays, shape))


def test_a_type_we_do_not_compute_with_is_named_with_its_tensor(tmp_path: Path) -> None:
    file = tiny_gguf(TinyShape(hidden=32))
    place = next(i for i, t in enumerate(file.tensors) if t.name == gguf_name("model.layers.1.mlp.up_proj.weight"))
    old = file.tensors[place]
    file.tensors[place] = GgufTensor(old.name, old.dims, bytes(18 * 12), type_id=20)
    checkpoint = open_checkpoint(file.write(tmp_path / "m.gguf"))
    spec = model_spec(checkpoint)
    with pytest.raises(UnsupportedModel, match=r"blk\.1\.ffn_up\.weight.*IQ4_NL"):
        load_weights(checkpoint, spec)


def test_files_are_told_apart_by_content_not_by_name(tmp_path: Path) -> None:
    shape = TinyShape(layers=1)
    assert open_checkpoint(tiny_gguf(shape).write(tmp_path / "a.bin")).kind == "gguf"
    folder = write_folder(tmp_path / "m", tiny_arrays(shape), tiny_config(shape))
    renamed = (folder / "model.safetensors").rename(folder / "weights.gguf")
    assert open_checkpoint(renamed).kind == "safetensors"


def test_a_folder_with_one_gguf_model_opens_it(tmp_path: Path) -> None:
    tiny_gguf(TinyShape()).write(tmp_path / "only.gguf")
    assert open_checkpoint(tmp_path).paths == (tmp_path / "only.gguf",)
    tiny_gguf(TinyShape()).write(tmp_path / "second.gguf")
    with pytest.raises(ModelNotFound, match=r"several models: only\.gguf, second\.gguf"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "error", "reason"),
    [
        ("pytorch_model.bin", b"PK\x03\x04" + bytes(40), UnsupportedModel, "pickle.*convert it to safetensors"),
        ("model.pth", b"\x80\x02}q\x00." + bytes(40), UnsupportedModel, "pickle"),
        ("model", b"\x80\x04\x95" + bytes(40), UnsupportedModel, "pickle"),
        ("old.bin", b"whatever this is" * 4, UnsupportedModel, "pickle"),
        ("ggml-model", b"tjgg" + bytes(40), UnsupportedModel, "older than GGUF"),
        ("a.gguf", b"version https://git-lfs.github.com/spec/v1\n", FileFormatError, "LFS pointer"),
        ("a.gguf", b"<!DOCTYPE html><html>", FileFormatError, "expected a GGUF or safetensors"),
        ("a.gguf", b"", FileFormatError, "expected a GGUF or safetensors"),
        ("a.safetensors", b"\x02\x00", FileFormatError, "safetensors"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], reason: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=reason):
        open_checkpoint(tmp_path / name)


def test_a_folder_of_pickles_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UnsupportedModel, match="can run code"):
        open_checkpoint(tmp_path)


def test_places_without_a_model_are_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path, Path("/dev/null"), tmp_path / "nul\0"):
        with pytest.raises(ModelNotFound):
            open_checkpoint(path)


def test_a_gguf_without_metadata_is_refused(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(GgufFile().write(tmp_path / "m.gguf"))
    with pytest.raises(FileFormatError):
        model_spec(checkpoint)
