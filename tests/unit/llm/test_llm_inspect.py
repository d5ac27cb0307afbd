"""What is known of a model before it is loaded, and its part of a memory budget."""

from dataclasses import replace
from pathlib import Path

import pytest

from wayra.base.errors import InvalidParameter, OutOfMemory
from wayra.base.settings import Settings
from wayra.llm.inspect import ModelFacts, inspect, plan_memory
from wayra.llm.load import load
from wayra.llm.memory import WORKSPACE_BYTES
from wayra.llm.options import LLMOptions

OPTIONS = LLMOptions(backend="null", context_len=256, max_batch=4)
MIB = 1 << 20


@pytest.fixture(scope="module")
def facts(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFacts:
    return inspect(str(smollm2_path), Settings(cache_dir=tmp_path_factory.mktemp("cache")), OPTIONS)


def test_a_model_is_known_before_it_is_loaded(facts: ModelFacts, smollm2_path: Path, llm_settings: Settings) -> None:
    loaded = load(str(smollm2_path), llm_settings, OPTIONS, None, 1 << 30)
    try:
        assert (facts.name, facts.source, facts.digest) == (loaded.name, loaded.source, loaded.digest)
        assert facts.spec == loaded.spec
        assert loaded.template is not None
        assert facts.template_source == loaded.template.source
        plan = plan_memory(facts, OPTIONS, 1 << 30, 1)
        assert plan.context_len == loaded.engine.limits.max_context
        assert plan.need_bytes == loaded.plan.num_blocks * facts.block_bytes + WORKSPACE_BYTES
    finally:
        loaded.release()


def test_a_part_is_an_equal_share_of_the_budget(facts: ModelFacts) -> None:
    plan = plan_memory(facts, OPTIONS, 400 * MIB, 2)
    assert plan.memory_bytes == 200 * MIB
    assert plan.need_bytes <= plan.memory_bytes


def test_a_part_is_at_least_what_weights_and_one_context_take(facts: ModelFacts) -> None:
    heavy = replace(facts, weights_bytes=300 * MIB)
    plan = plan_memory(heavy, OPTIONS, 400 * MIB, 4)
    one_context = 256 // 32 * facts.block_bytes
    assert plan.memory_bytes == plan.need_bytes == 300 * MIB + one_context + WORKSPACE_BYTES
    assert plan.context_len == 256


def test_a_context_that_nobody_asked_for_is_as_long_as_the_whole_budget_allows(facts: ModelFacts) -> None:
    free = LLMOptions(backend="null", max_batch=4)
    assert plan_memory(facts, free, 1 << 30, 3).context_len == facts.spec.context_len
    tight = WORKSPACE_BYTES + 20 * facts.block_bytes
    assert plan_memory(facts, free, tight, 3).context_len == 20 * 32


def test_what_does_not_fit_alone_is_refused_by_name(facts: ModelFacts) -> None:
    with pytest.raises(OutOfMemory, match="does not fit into the memory budget alone"):
        plan_memory(replace(facts, weights_bytes=500 * MIB), OPTIONS, 400 * MIB, 2)
    with pytest.raises(InvalidParameter, match="context_len"):
        plan_memory(facts, replace(OPTIONS, context_len=1 << 20), 1 << 40, 2)


def test_loading_says_when_the_budget_is_not_there(smollm2_path: Path, llm_settings: Settings) -> None:
    huge = replace(OPTIONS, context_len=8192, max_batch=1024)
    with pytest.raises(OutOfMemory, match=r"are needed and .* are available; lower the budget"):
        load(str(smollm2_path), llm_settings, huge, None, 1 << 50)
