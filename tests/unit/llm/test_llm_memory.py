"""How much memory is seen, and what is planned with it."""

from dataclasses import replace
from pathlib import Path

import pytest
from random_weights import random_weights
from tiny_llama import blocky_spec, tiny_spec

from wayra.backends.api import KV_BLOCK_LEN
from wayra.base.errors import InvalidParameter, OutOfMemory
from wayra.base.formats import BF16, F16, F32, Q4_0, WeightFormat
from wayra.llm.memory import WORKSPACE_BYTES, available_bytes, kv_bytes_per_block, kv_dtype_beside, plan_kv
from wayra.llm.options import LLMOptions

SPEC = replace(tiny_spec(), context_len=100_000)
BLOCK_BYTES = kv_bytes_per_block(SPEC, "f16")


def room_for(blocks: int) -> int:
    return WORKSPACE_BYTES + blocks * BLOCK_BYTES


def write_proc(root: Path, available_kb: int, cgroup: str = "0::/\n") -> Path:
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available_kb} kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    return proc


def test_a_block_holds_keys_and_values_of_every_layer() -> None:
    assert BLOCK_BYTES == 2 * 2 * (2 * 16) * KV_BLOCK_LEN * 2


def test_the_default_context_is_8192_tokens_of_a_larger_model() -> None:
    plan = plan_kv(SPEC, LLMOptions(max_batch=2), weights_bytes=0, available=None, block_bytes=BLOCK_BYTES)
    assert (plan.context_len, plan.num_blocks) == (8192, 2 * 256)


def test_the_default_context_of_a_smaller_model_is_its_own() -> None:
    plan = plan_kv(
        replace(SPEC, context_len=100),
        LLMOptions(max_batch=1),
        weights_bytes=0,
        available=None,
        block_bytes=BLOCK_BYTES,
    )
    assert (plan.context_len, plan.num_blocks) == (100, 4)


def test_an_explicit_context_may_reach_the_models_limit_and_no_further() -> None:
    assert plan_kv(SPEC, LLMOptions(context_len=100_000), 0, None, BLOCK_BYTES).context_len == 100_000
    with pytest.raises(InvalidParameter, match="context_len is 100,001 tokens, tiny allows 100,000"):
        plan_kv(SPEC, LLMOptions(context_len=100_001), 0, None, BLOCK_BYTES)


def test_blocks_beyond_one_context_take_a_share_of_what_is_left() -> None:
    plan = plan_kv(
        SPEC,
        LLMOptions(context_len=3200, max_batch=16),
        weights_bytes=0,
        available=room_for(1000),
        block_bytes=BLOCK_BYTES,
    )
    assert plan.num_blocks == 400
    plan = plan_kv(
        SPEC,
        LLMOptions(context_len=3200, max_batch=2),
        weights_bytes=0,
        available=room_for(1000),
        block_bytes=BLOCK_BYTES,
    )
    assert plan.num_blocks == 200


def test_little_memory_shortens_the_default_context() -> None:
    plan = plan_kv(SPEC, LLMOptions(), weights_bytes=1000, available=room_for(100) + 1000, block_bytes=BLOCK_BYTES)
    assert (plan.context_len, plan.num_blocks) == (3200, 100)


def test_weights_that_do_not_fit_are_refused_with_both_numbers() -> None:
    with pytest.raises(OutOfMemory, match=r"weights take 5\.00 GB, computing 0\.07 GB, and 2\.00 GB of memory"):
        plan_kv(SPEC, LLMOptions(), weights_bytes=5_000_000_000, available=2_000_000_000, block_bytes=BLOCK_BYTES)


def test_an_explicit_context_that_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(OutOfMemory, match=r"a context of 100,000 tokens takes 0\.03 GB") as raised:
        plan_kv(
            SPEC, LLMOptions(context_len=100_000), weights_bytes=0, available=room_for(100), block_bytes=BLOCK_BYTES
        )
    assert "0.07 GB of memory are available" in str(raised.value)


def test_available_memory_is_what_the_system_says(tmp_path: Path) -> None:
    assert available_bytes(write_proc(tmp_path, 5000), tmp_path / "none") == 5000 * 1024


def test_a_tighter_control_group_counts_and_its_file_cache_is_free(tmp_path: Path) -> None:
    proc = write_proc(tmp_path, 5000, "0::/box/inner\n")
    box = tmp_path / "cgroup" / "box"
    (box / "inner").mkdir(parents=True)
    (box / "inner" / "memory.max").write_text("max\n")
    (box / "inner" / "memory.current").write_text("7\n")
    (box / "memory.max").write_text("1000000\n")
    (box / "memory.current").write_text("600000\n")
    (box / "memory.stat").write_text("anon 1\ninactive_file 50000\nactive_file 1000\n")
    assert available_bytes(proc, tmp_path / "cgroup") == 451_000


def test_a_version_one_control_group_counts_too(tmp_path: Path) -> None:
    proc = write_proc(tmp_path, 5000, "5:cpu,memory:/box\n")
    box = tmp_path / "cgroup" / "memory" / "box"
    box.mkdir(parents=True)
    (box / "memory.limit_in_bytes").write_text("2000\n")
    (box / "memory.usage_in_bytes").write_text("1500\n")
    assert available_bytes(proc, tmp_path / "cgroup") == 500


def test_a_control_group_already_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    proc = write_proc(tmp_path, 5000)
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "memory.max").write_text("10\n")
    (root / "memory.current").write_text("20\n")
    assert available_bytes(proc, root) == 0


@pytest.mark.parametrize(("fmt", "kv_dtype"), [(F32, "int16"), (F16, "int16"), (BF16, "int16"), (Q4_0, "int8")])
def test_the_precision_of_the_cache_follows_that_of_the_weights(fmt: WeightFormat, kv_dtype: str) -> None:
    assert kv_dtype_beside(random_weights(blocky_spec(), lambda slot, part: fmt)) == kv_dtype
