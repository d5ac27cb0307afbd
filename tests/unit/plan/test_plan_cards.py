"""How many cards, and why not fewer: heads that divide, heads that are copied, and memory that is the system's."""

import json
from pathlib import Path

import pytest

from wayra.base.errors import InvalidParameter
from wayra.plan.hardware import hardware
from wayra.plan.memory import Request, fit, usable_bytes
from wayra.plan.models import Architecture, architecture
from wayra.plan.reading import describe
from wayra.plan.stored import stored_as


def with_heads(tmp_path: Path, heads: int, kv_heads: int) -> Architecture:
    """Ten billion weights and more, so that one card of 24 GB does not hold them in 16 bits."""
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": heads * 128, "num_hidden_layers": 60,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": 18_944,
        "vocab_size": 100_000, "max_position_embeddings": 32_768,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    return describe(str(tmp_path / "config.json")).model


def test_more_cards_than_kv_heads_keep_copies_that_count():
    # 405B: 126 layers of 8 heads of 128, two bytes: 516,096 B a token, twice on 16 cards; 131,072 tokens.
    model = architecture("llama-3.1-405b")
    found = fit(model, stored_as("bf16"), hardware("h100"), Request(1, 131_072))
    assert found.gpus == 16
    assert found.kv.value == 2 * 516_096 * 131_072
    # 16 cards of 80 GiB at 90 %, less 811.7 GB of weights, 32 of runtime and 4 of activations, for 135.3 GB each.
    room = 16 * 80 * 2**30 * 0.9 - 811_706_777_600 - 32e9 - found.activations.value
    assert found.max_batch == int(room // found.kv.value) == 2
    assert "16 cards for 8 KV heads: engines copy the heads, and the KV cache counts 2 times" in found.warnings
    eight = fit(model, stored_as("fp8"), hardware("h100"), Request(1, 131_072))
    assert (eight.gpus, eight.kv.value) == (8, 516_096 * 131_072)


def test_only_numbers_of_cards_that_divide_the_heads_are_tried(tmp_path: Path):
    # 28 heads: 8 cards would hold it and cannot share it.
    model = with_heads(tmp_path, 28, 4)
    found = fit(model, stored_as("bf16"), hardware("rtx4090"), Request(1, 32_768))
    assert found.gpus in (2, 4, None)
    big = fit(model, stored_as("bf16"), hardware("rtx4090"), Request(64, 32_768))
    assert big.gpus is None


def test_three_cards_are_not_tried_and_the_reason_says_so():
    found = fit(architecture("llama-3.1-70b"), stored_as("bf16"), hardware("h100"), Request(1, 131_072))
    assert found.gpus == 4
    assert found.why_not_fewer.endswith("2 x NVIDIA H100 SXM 80 GB offers 154.6 GB; 3 does not divide the 64 heads")


def test_cards_that_do_not_divide_the_heads_are_warned_of():
    found = fit(architecture("llama-3.1-8b"), stored_as("bf16"), hardware("h100"), Request(1, 8192), 3)
    assert any(text.startswith("3 cards do not divide the 32 heads") for text in found.warnings)
    assert found.kv.value == 8192 * 131_072
    two = fit(architecture("llama-3.1-8b"), stored_as("bf16"), hardware("h100"), Request(1, 8192), 2)
    assert not any("do not divide" in text for text in two.warnings)


def test_cards_that_take_whole_layers_each_copy_no_head():
    # 16 cards for 8 KV heads keep two of each, 11 cards cannot share 64 heads.
    model = architecture("llama-3.1-70b")
    shared, apart = (fit(model, stored_as("bf16"), hardware("h100"), Request(1, 8192), n) for n in (16, 11))
    assert shared.kv.value == 2 * apart.kv.value == 2 * 8192 * 327_680
    assert not any("copy" in text for text in apart.warnings)


def test_kv_heads_that_cards_neither_divide_nor_repeat_are_not_shared(tmp_path: Path):
    model = with_heads(tmp_path, 28, 4)
    seven = fit(model, stored_as("bf16"), hardware("h100"), Request(1, 8192), 7)
    assert any(text.startswith("7 cards neither divide the 4 KV heads nor are a multiple") for text in seven.warnings)
    assert not any("do not divide" in text for text in seven.warnings)


def test_more_cards_than_layers_that_cannot_share_heads_are_refused():
    model = architecture("llama-3.1-8b")
    with pytest.raises(InvalidParameter, match=r"33 cards do not divide the 32 heads, and .* 32 layers to share out"):
        fit(model, stored_as("bf16"), hardware("h100"), Request(1, 8192), 33)


@pytest.mark.parametrize(("name", "share"), [("h100", 0.9), ("m4-max", 0.75), ("server-zen4", 0.9)])
def test_a_share_of_the_memory_is_left_to_the_system(name: str, share: float):
    found = hardware(name)
    assert usable_bytes(found, 1).value == pytest.approx(share * found.memory_bytes)
