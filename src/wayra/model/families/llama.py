"""The dense Llama family: Llama 2, 3, 3.1, 3.2, SmolLM2, Mistral, Qwen2 and 2.5.

They differ in numbers only: biases, sliding windows, rotary scaling, tied embeddings.
Source: Touvron et al. 2023; Jiang et al. 2023; Qwen2 technical report 2024.
"""

from typing import TypeVar

from wayra.model.rope import rope_frequencies
from wayra.model.slots import Slot
from wayra.model.spec import ModelSpec
from wayra.model.vocabulary import Ops

A = TypeVar("A")


def forward(ops: Ops[A], spec: ModelSpec, token_ids: A, positions: A, logit_rows: A) -> A:
    """token_ids, positions: [tokens]; logit_rows: [rows] tokens whose logits are wanted. Returns [rows, vocab].

    Writes: the KV cache of every layer, at the slots of these tokens.
    """
    magnitude = rope_frequencies(spec.rope, spec.context_len)[1]
    qkv_bias = "qkv_bias" if spec.attention_bias else None
    o_bias = "o_bias" if spec.output_bias else None
    gate_up_bias, down_bias = ("gate_up_bias", "down_bias") if spec.mlp_bias else (None, None)

    x, delta = ops.embed(token_ids, "embed"), None
    for i in range(spec.num_layers):
        x, h = ops.add_rms_norm(x, delta, of(i, "attn_norm"), spec.norm_eps)
        qkv = ops.linear(h, of(i, "qkv"), qkv_bias and of(i, qkv_bias))
        q = ops.rope_store(qkv, positions, i, spec, magnitude)
        a = ops.attention(q, i, spec)
        if i == spec.num_layers - 1:
            # From here on no row reads another's, and of the other rows nothing is read any more.
            x, a = ops.take_rows(x, logit_rows), ops.take_rows(a, logit_rows)
        delta = ops.linear(a, of(i, "o"), o_bias and of(i, o_bias))

        x, h = ops.add_rms_norm(x, delta, of(i, "ffn_norm"), spec.norm_eps)
        gate_up = ops.linear(h, of(i, "gate_up"), gate_up_bias and of(i, gate_up_bias))
        s = ops.swiglu(gate_up)
        delta = ops.linear(s, of(i, "down"), down_bias and of(i, down_bias))

    x, h = ops.add_rms_norm(x, delta, "final_norm", spec.norm_eps)
    return ops.logits(h, "embed" if spec.tied_embeddings else "head")


def slots(spec: ModelSpec) -> tuple[Slot, ...]:
    """Every weight a model of this spec has, in the order the forward uses them."""
    hidden, ffn, vocab = spec.hidden_size, spec.ffn_size, spec.vocab_size
    qkv_size = spec.q_size + 2 * spec.kv_size
    found = [Slot("embed", "matrix", (vocab, hidden)), Slot("rope_inv_freq", "vector", (spec.rope.rotary_dim // 2,))]
    for i in range(spec.num_layers):
        found += [
            Slot(of(i, "attn_norm"), "vector", (hidden,)),
            Slot(of(i, "qkv"), "matrix", (qkv_size, hidden), ("q", "k", "v")),
            Slot(of(i, "o"), "matrix", (hidden, spec.q_size)),
            Slot(of(i, "ffn_norm"), "vector", (hidden,)),
            Slot(of(i, "gate_up"), "matrix", (2 * ffn, hidden), ("gate", "up")),
            Slot(of(i, "down"), "matrix", (hidden, ffn)),
        ]
        if spec.attention_bias:
            found.append(Slot(of(i, "qkv_bias"), "vector", (qkv_size,), ("q", "k", "v")))
        if spec.output_bias:
            found.append(Slot(of(i, "o_bias"), "vector", (hidden,)))
        if spec.mlp_bias:
            found.append(Slot(of(i, "gate_up_bias"), "vector", (2 * ffn,), ("gate", "up")))
            found.append(Slot(of(i, "down_bias"), "vector", (hidden,)))
    found.append(Slot("final_norm", "vector", (hidden,)))
    if not spec.tied_embeddings:
        found.append(Slot("head", "matrix", (vocab, hidden)))
    return tuple(found)


def of(layer: int, name: str) -> str:
    """The slot name of a layer's weight."""
    return f"layers.{layer}.{name}"
