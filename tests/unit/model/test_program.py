"""The recorded Program: what it holds, and that every corruption of it is refused."""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature

import pytest

from wayra.base.errors import ShapeError, UnsupportedModel
from wayra.model.ops import TABLE
from wayra.model.program import ArrayRef, Call, Program
from wayra.model.record import record
from wayra.model.spec import ModelSpec, RopeSpec
from wayra.model.verify import verify
from wayra.model.vocabulary import Ops

SPEC = ModelSpec(
    family="llama", name="tiny", num_layers=2, hidden_size=12, num_heads=4, num_kv_heads=2, head_dim=6, ffn_size=10,
    vocab_size=17, context_len=64, norm_eps=1e-5, rope=RopeSpec(1e4, 6), tied_embeddings=False, sliding_window=5,
    sliding_layers=(1,),
)  # fmt: skip


def test_program_is_the_straight_line_of_the_family() -> None:
    layer = [
        "add_rms_norm",
        "linear",
        "rope_store",
        "attention",
        "linear",
        "add_rms_norm",
        "linear",
        "swiglu",
        "linear",
    ]
    last = [*layer[:4], "take_rows", "take_rows", *layer[4:]]
    expected = ["embed", *layer, *last, "add_rms_norm", "logits"]
    assert [call.op for call in record(SPEC).calls] == expected


def test_calls_name_their_weights_shapes_and_attributes() -> None:
    calls = record(SPEC).calls
    qkv, rope, attention = calls[2], calls[3], calls[13]
    assert qkv.weights == ("layers.0.qkv", None)
    assert qkv.outputs[0].shape == ("tokens", (4 + 2 * 2) * 6)
    assert rope.effects == ("kv",)
    assert dict(rope.attrs) == {
        "layer": 0, "num_heads": 4, "num_kv_heads": 2, "head_dim": 6, "rotary_dim": 6, "magnitude": 1.0,
    }  # fmt: skip
    assert attention.op == "attention"
    assert attention.attrs["window"] == 5
    assert calls[4].attrs["window"] is None
    assert attention.attrs["scale"] == pytest.approx(6**-0.5)


def test_head_is_the_embedding_when_tied_and_biases_are_named_when_present() -> None:
    spec = replace(SPEC, tied_embeddings=True, attention_bias=True, output_bias=True, mlp_bias=True)
    calls = record(spec).calls
    assert calls[-1].weights == ("embed",)
    biases = [call.weights[1] for call in calls[:10] if call.op == "linear"]
    assert biases == [f"layers.0.{name}" for name in ("qkv_bias", "o_bias", "gate_up_bias", "down_bias")]


def test_unknown_family_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="'martian'"):
        record(replace(SPEC, family="martian"))


def test_vocabulary_has_one_method_for_each_operation_of_the_table() -> None:
    methods = {name for name in vars(Ops) if not name.startswith("_")} - {"call"}
    assert methods == set(TABLE)
    for name in methods:
        assert len(signature(getattr(Ops, name)).parameters) > len(TABLE[name].inputs)


def _change(program: Program, index: int, **changed: object) -> Program:
    calls = list(program.calls)
    calls[index] = replace(calls[index], **changed)
    return replace(program, calls=tuple(calls))


def _with_attr(program: Program, index: int, name: str, value: object) -> Program:
    return _change(program, index, attrs={**program.calls[index].attrs, name: value})


GHOST = ArrayRef(999, ("tokens", 12), "f32")
CORRUPTIONS: dict[str, tuple[Callable[[Program], Program], str]] = {
    "unknown operation": (lambda p: _change(p, 1, op="reshape"), "no such operation"),
    "value never defined": (lambda p: _change(p, 1, inputs=(GHOST, None)), "nothing before it defines"),
    "call before its input": (lambda p: replace(p, calls=p.calls[1:]), "nothing before it defines"),
    "input of another shape": (
        lambda p: _change(p, 1, inputs=(replace(p.calls[0].outputs[0], shape=("tokens", 13)), None)),
        "nothing before it defines",
    ),
    "output of another shape": (
        lambda p: _change(p, 2, outputs=(replace(p.calls[2].outputs[0], shape=("tokens", 47)),)),
        "the table derives",
    ),
    "output of another type": (
        lambda p: _change(p, 2, outputs=(replace(p.calls[2].outputs[0], dtype="i32"),)),
        "expected f32",
    ),
    "output defined twice": (lambda p: _change(p, 2, outputs=(p.calls[1].outputs[1],)), "derives|second time"),
    "weight of no slot": (lambda p: _change(p, 2, weights=("layers.9.qkv", None)), "not a slot"),
    "weight of another shape": (lambda p: _change(p, 2, weights=("layers.0.down", None)), "columns"),
    "vector in place of a matrix": (lambda p: _change(p, 2, weights=("final_norm", None)), "2 dimensions"),
    "weight missing": (lambda p: _change(p, 2, weights=(None, None)), "not optional"),
    "too few weights": (lambda p: _change(p, 2, weights=("layers.0.qkv",)), "expected 2"),
    "input missing": (lambda p: _change(p, 2, inputs=(None,)), "not optional"),
    "attribute missing": (lambda p: _change(p, 1, attrs={}), "attributes"),
    "attribute of another type": (lambda p: _with_attr(p, 1, "eps", "small"), "expected float"),
    "layer out of range": (lambda p: _with_attr(p, 3, "layer", 2), "layer 2"),
    "heads that do not fit": (lambda p: _with_attr(p, 3, "num_heads", 5), "qkv has 48 features"),
    "heads that cannot share": (lambda p: _with_attr(p, 4, "num_kv_heads", 3), "cannot share"),
    "cache read with other heads": (lambda p: _with_attr(p, 4, "num_kv_heads", 1), "written as"),
    "effect not declared": (lambda p: _change(p, 3, effects=()), "declares effects"),
    "effect invented": (lambda p: _change(p, 1, effects=("kv",)), "declares effects"),
    "cache read before written": (lambda p: _with_attr(p, 4, "layer", 1), "before anything writes"),
    "cache written twice": (lambda p: _with_attr(p, 12, "layer", 0), "second time"),
    "output never defined": (lambda p: replace(p, output=GHOST), "never defined"),
    "output not the logits": (lambda p: replace(p, output=p.calls[1].outputs[0]), "expected f32"),
    "inputs renamed": (lambda p: replace(p, inputs={"ids": p.inputs["token_ids"]}), "inputs are"),
    "inputs confused": (
        lambda p: replace(p, inputs={**p.inputs, "positions": p.inputs["token_ids"]}),
        "same id",
    ),
}


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_corrupted_program_is_refused(name: str) -> None:
    program = record(SPEC)
    corrupt, message = CORRUPTIONS[name]
    verify(program)
    with pytest.raises(ShapeError, match=message):
        verify(corrupt(program))


def test_every_call_is_needed() -> None:
    program = record(SPEC)
    for index in range(len(program.calls)):
        calls: tuple[Call, ...] = program.calls[:index] + program.calls[index + 1 :]
        with pytest.raises(ShapeError):
            verify(replace(program, calls=calls))
