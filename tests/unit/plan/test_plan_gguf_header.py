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


@pytest.mark.parametrize("key", ["ssm.state_size", "attention.kv_lora_rank"])
def test_what_remembers_something_else_than_keys_and_values_is_refused(key: str, tmp_path: Path) -> None:
    mixture(tmp_path / "x.gguf", "other", **{key: 16})
    with pytest.raises(UnsupportedModel, match=f"cannot size architecture 'other': other.{key} changes"):
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
