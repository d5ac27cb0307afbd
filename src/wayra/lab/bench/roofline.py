"""The machine's limit for a model's prefill and decode, from the cost of its Program and measured or given rates."""

from wayra.base.settings import Settings
from wayra.lab.limits import MachineLimits
from wayra.model.cost import cost
from wayra.model.record import record
from wayra.weights.loader import load_weights, model_spec, open_checkpoint


def limit_rates(
    name: str, settings: Settings, sizes: dict[str, int], limits: MachineLimits, kv_dtype: str = "f16"
) -> dict[str, float]:
    """Tokens per second at most, by stage name, for sizes like {"pp512": 512, "tg128": 128}.

    Decode is counted at the middle of the answer, as its cost is linear in the context. Stages whose strictest limit is
    unknown are left out: prefill is bound by integer units, so bandwidth alone would say nothing about it.
    """
    from wayra.weights.sources import resolve

    checkpoint = open_checkpoint(resolve(name, settings, offline=settings.hub_offline).path)
    try:
        spec = model_spec(checkpoint)
        program = record(spec)
        matrices = load_weights(checkpoint, spec).matrices
        bits = {
            slot: 8 * sum(part.tensor.data.nbytes for part in weight.parts) / (weight.rows * weight.cols)
            for slot, weight in matrices.items()
        }
    finally:
        checkpoint.close()
    found: dict[str, float] = {}
    for stage, length in sizes.items():
        is_prefill = stage.startswith("pp")
        if is_prefill and limits.int8_gop_s is None:
            continue
        tokens = length if is_prefill else 1
        keys = length if is_prefill else 1 + (length + 1) // 2
        step = cost(program, tokens=tokens, rows=1, kv_lens=[keys], weight_bits=bits, kv_dtype=kv_dtype)
        rate = limits.tokens_per_s(step.memory_bytes / tokens, step.flops / tokens)
        if rate is not None:
            found[stage] = rate
    return found
