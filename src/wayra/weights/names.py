"""Which tensors of a checkpoint fill which slot, and its files: the naming of GGUF and that of Hugging Face.

Names only. A slot of several parts has one tensor a part, in the slot's order.
"""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal

from wayra.model.slots import Slot

Kind = Literal["gguf", "safetensors"]

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

ROPE_FACTORS = "rope_freqs.weight"
"""GGUF only: what the rotary frequencies are divided by (llama3 scaling, worked out by the converter)."""

_LAYER_SLOT = re.compile(r"layers\.(\d+)\.(\w+)")

_GGUF_TOP: Mapping[str, str] = MappingProxyType({
    "embed": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
})  # fmt: skip
_GGUF_LAYER: Mapping[str, str] = MappingProxyType({
    "attn_norm": "attn_norm.weight",
    "ffn_norm": "ffn_norm.weight",
    "qkv.q": "attn_q.weight",
    "qkv.k": "attn_k.weight",
    "qkv.v": "attn_v.weight",
    "qkv_bias.q": "attn_q.bias",
    "qkv_bias.k": "attn_k.bias",
    "qkv_bias.v": "attn_v.bias",
    "o": "attn_output.weight",
    "o_bias": "attn_output.bias",
    "gate_up.gate": "ffn_gate.weight",
    "gate_up.up": "ffn_up.weight",
    "gate_up_bias.gate": "ffn_gate.bias",
    "gate_up_bias.up": "ffn_up.bias",
    "down": "ffn_down.weight",
    "down_bias": "ffn_down.bias",
})  # fmt: skip
_HF_TOP: Mapping[str, str] = MappingProxyType({
    "embed": "embed_tokens.weight",
    "final_norm": "norm.weight",
    "head": "lm_head.weight",
})  # fmt: skip
_HF_LAYER: Mapping[str, str] = MappingProxyType({
    "attn_norm": "input_layernorm.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "qkv.q": "self_attn.q_proj.weight",
    "qkv.k": "self_attn.k_proj.weight",
    "qkv.v": "self_attn.v_proj.weight",
    "qkv_bias.q": "self_attn.q_proj.bias",
    "qkv_bias.k": "self_attn.k_proj.bias",
    "qkv_bias.v": "self_attn.v_proj.bias",
    "o": "self_attn.o_proj.weight",
    "o_bias": "self_attn.o_proj.bias",
    "gate_up.gate": "mlp.gate_proj.weight",
    "gate_up.up": "mlp.up_proj.weight",
    "gate_up_bias.gate": "mlp.gate_proj.bias",
    "gate_up_bias.up": "mlp.up_proj.bias",
    "down": "mlp.down_proj.weight",
    "down_bias": "mlp.down_proj.bias",
})  # fmt: skip
# Written by older versions of transformers; recomputed from the configuration.
_HF_BUFFER = re.compile(r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


def tensor_names(kind: Kind, slot: Slot, stored: Collection[str]) -> tuple[str, ...]:
    """The tensors that fill a slot, one a part (or one in all).

    stored: names in the checkpoint; they tell whether Hugging Face's names carry the prefix "model.".
    Raises KeyError on a slot no naming knows, which is a bug of ours.
    """
    fields = [f"{slot.name}.{part}" for part in slot.parts] or [slot.name]
    matched = _LAYER_SLOT.match(slot.name)
    if matched is None:
        top = _GGUF_TOP if kind == "gguf" else _HF_TOP
        names = [top[field] for field in fields]
    else:
        layer, prefix_len = int(matched[1]), matched.start(2)
        by_field, folder = (_GGUF_LAYER, "blk") if kind == "gguf" else (_HF_LAYER, "layers")
        names = [f"{folder}.{layer}.{by_field[field[prefix_len:]]}" for field in fields]
    if kind == "safetensors" and slot.name != "head" and "embed_tokens.weight" not in stored:
        names = [f"model.{name}" for name in names]
    return tuple(names)


def is_ignorable(kind: Kind, name: str, *, tied_embeddings: bool) -> bool:
    """Whether a tensor no slot asks for may be left aside without changing what the model computes."""
    if kind == "gguf":
        return name == ROPE_FACTORS
    return _HF_BUFFER.fullmatch(name) is not None or (tied_embeddings and name == _HF_TOP["head"])
