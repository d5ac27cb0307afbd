"""GGUF files of models this engine does not run: sized by their own tensors, or refused in a sentence."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.plan.hardware import hardware
from wayra.plan.memory import Request, fit, kv_bytes, weights_bytes
from wayra.plan.reading import describe

HIDDEN, FFN, HEADS, KV_HEADS, VOCAB, LAYERS, EXPERTS = 64, 128, 4, 2, 100, 2, 8


def mixture(path: Path, kind: str = "llama", **more: int) -> int:
    """Writes a mixture of experts in Q8_0 and 32 bits; returns the bytes of its tensors."""
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(LAYERS)
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(2)
    for key, value in more.items():
        writer.add_uint32(f"{kind}.{key}", value)
    kv = HIDDEN // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (VOCAB, HIDDEN), "output": (VOCAB, HIDDEN)}
    for i in range(LAYERS):
        for part, shape in {
            "attn_q": (HIDDEN, HIDDEN), "attn_k": (kv, HIDDEN), "attn_v": (kv, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate_inp": (EXPERTS, HIDDEN), "ffn_gate_exps": (EXPERTS, FFN, HIDDEN),
            "ffn_up_exps": (EXPERTS, FFN, HIDDEN), "ffn_down_exps": (EXPERTS, HIDDEN, FFN), "attn_norm": (HIDDEN,),
        }.items():  # fmt: skip
            shapes[f"blk.{i}.{part}"] = shape
    size = 0
    for name, shape in shapes.items():
        values = np.ones(shape, np.float32)
        if name.endswith("_exps"):
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            size += packed.nbytes
        else:
            writer.add_tensor(f"{name}.weight", values)
            size += values.nbytes
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return size


@pytest.mark.parametrize("kind", ["llama", "gemma2", "a-kind-of-next-year"])
def test_weights_are_the_files_own_bytes_and_the_cache_its_heads(kind: str, tmp_path: Path) -> None:
    size = mixture(tmp_path / "x.gguf", kind)
    found = describe(str(tmp_path / "x.gguf"))
    assert found.stored is not None
    assert weights_bytes(found.model, found.stored).value == pytest.approx(size, rel=1e-12)
    # Keys and values of 2 layers, 2 heads of 16 values, 2 bytes each.
    assert kv_bytes(found.model, Request(1, 1000)).value == 2 * 2 * 2 * 16 * 2 * 1000
    assert found.model.experts is not None
    assert (found.model.experts.layers, found.model.experts.count, found.model.experts.used) == (2, 8, 2)
    told = fit(found.model, found.stored, hardware("h100"), Request(1, 1000)).warnings
    assert any(f"this engine does not run {kind}; sized by the tensors of its file" in text for text in told)


def written(path: Path, kind: str, layers: list[dict[str, tuple[int, ...]]], **keys: int | list[int]) -> int:
    """Writes a file of such layers in 32 bits; returns the bytes of its tensors."""
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(len(layers))
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    for key, value in keys.items():
        if isinstance(value, list):
            writer.add_array(f"{kind}.{key}", value)
        else:
            writer.add_uint32(f"{kind}.{key}", value)
    size = 0
    named = {f"blk.{i}.{part}.weight": shape for i, layer in enumerate(layers) for part, shape in layer.items()}
    for name, shape in {"token_embd.weight": (VOCAB, HIDDEN), **named}.items():
        writer.add_tensor(name, np.ones(shape, np.float32))
        size += 4 * int(np.prod(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return size


MLP: dict[str, tuple[int, ...]] = {"ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN), "ffn_down": (HIDDEN, FFN)}


def test_a_latent_vector_is_kept_once_for_all_heads(tmp_path: Path) -> None:
    layer = {
        "attn_q": (HEADS * 24, HIDDEN), "attn_kv_a_mqa": (40, HIDDEN), "attn_kv_b": (HEADS * 32, 32),
        "attn_output": (HIDDEN, HEADS * 16), "attn_norm": (HIDDEN,), **MLP,
    }  # fmt: skip
    size = written(tmp_path / "x.gguf", "deepseek2", [layer] * 3, **{"attention.kv_lora_rank": 32})
    found = describe(str(tmp_path / "x.gguf"))
    assert found.stored is not None
    assert weights_bytes(found.model, found.stored).value == pytest.approx(size, rel=1e-12)
    # 3 layers of 32 and 8 values of 2 bytes, no second copy.
    assert kv_bytes(found.model, Request(2, 1000)).value == 2 * 1000 * 3 * 40 * 2
    assert found.model.parameters == size / 4


def test_layers_with_a_state_keep_it_and_those_with_keys_keep_keys(tmp_path: Path) -> None:
    state = {
        "ssm_in": (2 * FFN + 2 * 8 + 4, HIDDEN), "ssm_conv1d": (FFN + 16, 4), "ssm_a": (4, 1), "ssm_out": (HIDDEN, FFN),
        "attn_norm": (HIDDEN,),
    }  # fmt: skip
    attention = {
        "attn_q": (64, HIDDEN), "attn_k": (32, HIDDEN), "attn_v": (32, HIDDEN), "attn_output": (HIDDEN, 64),
    }  # fmt: skip
    keys = {"ssm.conv_kernel": 4, "ssm.inner_size": FFN, "ssm.state_size": 8, "attention.head_count_kv": [0, 0, 0, 2]}
    size = written(tmp_path / "x.gguf", "nemotron_h", [state, MLP, state, attention], **keys)
    found = describe(str(tmp_path / "x.gguf"))
    assert found.stored is not None
    assert weights_bytes(found.model, found.stored).value == pytest.approx(size, rel=1e-12)
    # One layer of keys and values of 32; two with 3 * 144 values of the convolution and 128 * 8 carried on, in 4 bytes.
    per_sequence = 1000 * (32 + 32) * 2 + 2 * (3 * (FFN + 16) + FFN * 8) * 4
    assert kv_bytes(found.model, Request(5, 1000)).value == 5 * per_sequence
    assert found.model.state_bytes == 2 * (3 * (FFN + 16) + FFN * 8) * 4
    assert found.model.parameters == size / 4


def test_layers_with_heads_of_their_own_are_told_apart(tmp_path: Path) -> None:
    def layer(key: int) -> dict[str, tuple[int, ...]]:
        return {"attn_q": (64, HIDDEN), "attn_k": (key, HIDDEN), "attn_v": (key, HIDDEN), "attn_output": (HIDDEN, 64)}

    written(tmp_path / "x.gguf", "openelm", [layer(16), layer(32), layer(32)])
    found = describe(str(tmp_path / "x.gguf")).model
    assert [(one.name, one.layers) for one in found.mixing] == [("full attention", 1), ("full attention 2", 2)]
    assert kv_bytes(found, Request(1, 100)).value == 100 * (2 * 16 + 2 * 2 * 32) * 2


def test_layers_that_guess_ahead_are_weights_and_keep_nothing(tmp_path: Path) -> None:
    layer = {"attn_q": (64, HIDDEN), "attn_k": (32, HIDDEN), "attn_v": (32, HIDDEN), "attn_output": (HIDDEN, 64), **MLP}
    more = {**layer, "nextn.eh_proj": (HIDDEN, 2 * HIDDEN)}
    size = written(tmp_path / "x.gguf", "glm4moe", [layer, layer, more], nextn_predict_layers=1)
    found = describe(str(tmp_path / "x.gguf"))
    assert found.stored is not None
    assert weights_bytes(found.model, found.stored).value == pytest.approx(size, rel=1e-12)
    assert found.model.num_layers == 2
    assert kv_bytes(found.model, Request(1, 100)).value == 2 * 100 * 64 * 2


def test_short_convolutions_keep_a_few_tokens(tmp_path: Path) -> None:
    layer = {"shortconv.in_proj": (3 * HIDDEN, HIDDEN), "shortconv.conv": (HIDDEN, 3), **MLP}
    written(tmp_path / "x.gguf", "lfm2", [layer] * 2)
    found = describe(str(tmp_path / "x.gguf")).model
    assert kv_bytes(found, Request(1, 1)).value == kv_bytes(found, Request(1, 9999)).value == 2 * 2 * HIDDEN * 4


@pytest.mark.parametrize("kind", [t for t in gguf.GGMLQuantizationType if t.name.startswith(("IQ", "TQ", "MX", "NV"))])
def test_formats_that_this_engine_does_not_read_count_by_their_blocks(
    kind: gguf.GGMLQuantizationType, tmp_path: Path
) -> None:
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    for add, value in (
        (writer.add_block_count, 1), (writer.add_context_length, 64), (writer.add_embedding_length, 256),
        (writer.add_feed_forward_length, 512), (writer.add_head_count, 4), (writer.add_head_count_kv, 4),
    ):  # fmt: skip
        add(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("token_embd.weight", np.ones((8, 256), np.float16))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(256, np.float32))
    weights = {"attn_q": 256, "attn_k": 256, "attn_v": 256, "attn_output": 256, "ffn_gate": 512, "ffn_up": 512}
    for name, rows in weights.items():
        packed = np.zeros((rows, 256 // block * block_bytes), np.uint8)
        writer.add_tensor(f"blk.0.{name}.weight", packed, raw_dtype=kind)
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((256, 512 // block * block_bytes), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = describe(str(tmp_path / "x.gguf"))
    assert found.stored is not None
    # Four squares of 256, three matrices of 256 by 512, and a table of 8 by 256 in 16 bits.
    assert found.model.linear == 4 * 256**2 + 3 * 256 * 512
    assert found.stored.linear_bits == pytest.approx(8 * block_bytes / block)
    assert f"this engine does not read {kind.name}" in found.model.note


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            {"time_mix_w1": (4, HIDDEN)},
            "cannot size architecture 'rwkv7': time_mix_w1.weight changes what it remembers",
        ),
        (MLP, "none of its tensors says what it keeps of a sequence"),
    ],
)
def test_what_remembers_in_no_known_way_is_refused(
    layer: dict[str, tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    written(tmp_path / "x.gguf", "rwkv7", [layer])
    with pytest.raises(UnsupportedModel, match=message):
        describe(str(tmp_path / "x.gguf"))


def test_a_file_without_some_of_its_layers_is_incomplete(tmp_path: Path) -> None:
    written(tmp_path / "x.gguf", "other", [MLP, {}, MLP])
    with pytest.raises(FileFormatError, match="tensors of 2 of 3 layers; is the file complete"):
        describe(str(tmp_path / "x.gguf"))


def test_a_file_without_an_embedding_is_no_language_model(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "clip")
    writer.add_block_count(1)
    writer.add_tensor("v.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(FileFormatError, match=r"has no table token_embd\.weight"):
        describe(str(tmp_path / "x.gguf"))


ATTENTION: dict[str, tuple[int, ...]] = {
    "attn_q": (HIDDEN, HIDDEN), "attn_k": (32, HIDDEN), "attn_v": (32, HIDDEN), "attn_output": (HIDDEN, HIDDEN), **MLP,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        # As the converters write them: a flag a layer, or a period.
        (
            "gemma4",
            {"sliding_window": 128, "sliding_window_pattern": [True, True, False, True, False, False, True, True]},
            (5, 128),
        ),
        ("cohere2", {"sliding_window": 128, "sliding_window_pattern": 3}, (6, 128)),
        # What is not written is in llama.cpp: every second layer, every sixth, the last of four, the first of four.
        ("gpt-oss", {"sliding_window": 128}, (4, 128)),
        ("gemma3", {"sliding_window": 128}, (7, 128)),
        ("olmo2", {"sliding_window": 128}, (6, 128)),
        ("cohere2moe", {"sliding_window": 128}, (6, 128)),
        ("gemma2", {}, (4, 4096)),
        ("smallthinker", {"sliding_window": 128}, (6, 4096)),
        ("llama4", {}, (6, 8192)),
        ("llama4", {"sliding_window": 0}, (0, 0)),
        ("exaone4", {"sliding_window": 128}, (0, 0)),
        ("gemma3", {}, (0, 0)),
        ("phi3", {"sliding_window": 128}, (0, 0)),
        ("a-kind-of-next-year", {"sliding_window": 128}, (0, 0)),
    ],
)
def test_windows_are_those_that_the_file_lists_or_llama_cpp_counts(
    kind: str, keys: dict[str, int | list[int]], expected: tuple[int, int], tmp_path: Path
) -> None:
    written(
        tmp_path / "x.gguf", kind, [ATTENTION] * 8, **{f"attention.{key}": value for key, value in keys.items()},
        **{"attention.head_count_kv": KV_HEADS},
    )  # fmt: skip
    found = describe(str(tmp_path / "x.gguf")).model
    layers, window = expected
    assert sum(one.layers for one in found.mixing if one.window) == layers
    assert {one.window for one in found.mixing if one.window} == ({window} if layers else set())
    assert all(one.chunked == (kind == "llama4") for one in found.mixing if one.window)
    # Key and value of 32 in 2 bytes.
    assert kv_bytes(found, Request(1, 10_000)).value == 128 * ((8 - layers) * 10_000 + layers * window)
    unknown = kind in ("phi3", "a-kind-of-next-year")
    assert ("all layers count with the whole context" in found.note or "is not in the file" in found.note) == unknown


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sliding_window_pattern": [1, 0]}, "sliding_window_pattern lists 2 of 8 layers"),
        ({"sliding_window": (1 << 32) - 1}, "sliding_window is 4294967295; expected 1 to"),
    ],
)
def test_windows_that_make_no_sense_are_refused(keys: dict[str, int | list[int]], message: str, tmp_path: Path) -> None:
    known = {"sliding_window": 128, "head_count_kv": KV_HEADS, **keys}
    written(
        tmp_path / "x.gguf", "gemma3", [ATTENTION] * 8, **{f"attention.{key}": value for key, value in known.items()}
    )
    with pytest.raises(FileFormatError, match=message):
        describe(str(tmp_path / "x.gguf"))
