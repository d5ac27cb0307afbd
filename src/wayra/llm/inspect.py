"""What a model is and how much memory it will take, from the head of its file: nothing is loaded.

A server that offers several models asks this of all of them before it loads the first.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wayra.base.errors import InvalidParameter, OutOfMemory
from wayra.base.settings import Settings
from wayra.llm.load import weights_bytes
from wayra.llm.memory import kv_bytes_per_block, kv_dtype_beside, least_bytes, plan_kv, planned_bytes
from wayra.llm.options import LLMOptions
from wayra.llm.tokenizers import load_template, load_tokenizer
from wayra.model.spec import ModelSpec
from wayra.weights.loader import load_weights, model_spec, open_checkpoint

if TYPE_CHECKING:
    from wayra.weights.sources import Progress


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """digest: of the files it comes from. template_source: None when it is no chat model.

    block_bytes: of a block of its KV cache.
    """

    name: str
    source: str
    digest: str
    spec: ModelSpec
    template_source: str | None
    weights_bytes: int
    block_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """context_len: tokens a request may have. memory_bytes: what `load` may plan with. need_bytes: what it takes."""

    context_len: int
    memory_bytes: int
    need_bytes: int


def inspect(name: str, settings: Settings, options: LLMOptions, progress: "Progress | None" = None) -> ModelFacts:
    """Find a model, fetching it where it is not here yet, and read what it is. Raises as `load`, memory aside."""
    from wayra.weights.sources import resolve

    local = resolve(name, settings, progress=progress, offline=settings.hub_offline)
    checkpoint = open_checkpoint(local.path)
    try:
        spec = model_spec(checkpoint)
        template = load_template(checkpoint, load_tokenizer(checkpoint, settings.cache_dir))
        try:
            source = None if template is None else template.source
        finally:
            if template is not None:
                template.close()
        weights = load_weights(checkpoint, spec)
        block_bytes = kv_bytes_per_block(spec, options.kv_dtype or kv_dtype_beside(weights))
        size = weights_bytes(weights, options)
        return ModelFacts(local.name, local.source, checkpoint.digest, spec, source, size, block_bytes)
    finally:
        checkpoint.close()


def plan_memory(facts: ModelFacts, options: LLMOptions, budget_bytes: int, num_models: int) -> MemoryPlan:
    """One model's part of a budget: an equal share, or as much as it cannot do without.

    Raises OutOfMemory when it does not fit into the budget alone, InvalidParameter for a context it has not.
    """
    weights, block = facts.weights_bytes, facts.block_bytes
    try:
        alone = plan_kv(facts.spec, options, weights, budget_bytes, block)
    except OutOfMemory as error:
        raise OutOfMemory(f"{facts.name} does not fit into the memory budget alone: {error}") from error
    except InvalidParameter as error:
        raise InvalidParameter(f"{facts.name}: {error}") from error
    memory_bytes = max(least_bytes(weights, alone.context_len, block), budget_bytes // num_models)
    plan = plan_kv(facts.spec, options, weights, memory_bytes, block)
    return MemoryPlan(plan.context_len, memory_bytes, planned_bytes(weights, plan, block))
