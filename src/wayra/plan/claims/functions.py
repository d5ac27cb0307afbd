"""The derivation functions: what a claim's expression may call, each giving a `Quantity` with its formula."""

from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType

from wayra.base.errors import InvalidParameter
from wayra.plan import cost, memory
from wayra.plan.claims.claim import stated
from wayra.plan.claims.language import Functions, Value, Words
from wayra.plan.evidence import Score, scores
from wayra.plan.evidence import fact as find_fact
from wayra.plan.hardware import hardware
from wayra.plan.models import architecture
from wayra.plan.prices.api import api_price
from wayra.plan.prices.table import shipped_prices
from wayra.plan.quantity import Quantity, computed, derived, given

CONFIG = "config.json of the model"
SHEET = "the maker's data sheet"
CLAIMED = "the claim"


def functions(prices_of: date) -> Functions:
    """The table of functions; `prices_of`: the day for which price lists are read."""

    def api_input(provider: str, model: str) -> Value:
        return api_price(provider, model, on=prices_of).input_price()

    def api_output(provider: str, model: str) -> Value:
        return api_price(provider, model, on=prices_of).output_price()

    def api_context_ktok(provider: str, model: str) -> Value:
        found = api_price(provider, model, on=prices_of)
        if found.context_len is None:
            raise InvalidParameter(f"the price list names no context for {model}")
        return given("context_ktok", found.context_len / 1000, "Ktok", f"{found.source}, {found.as_of}")

    def api_sold(provider: str, model: str) -> Value:
        found = api_price(provider, model, on=prices_of)
        return Words("yes", f"priced at {found.input_usd_per_mtok:g}/{found.output_usd_per_mtok:g} in {found.source}")

    lists: Mapping[str, Callable[..., Value]] = {
        "api_input": api_input,
        "api_output": api_output,
        "api_context_ktok": api_context_ktok,
        "api_sold": api_sold,
    }
    return MappingProxyType({**_FIXED, **lists})


def _gpus(count: float) -> Quantity:
    return given("gpus", count, "", CLAIMED)


def _parameters(model: str) -> Quantity:
    return given("parameters", architecture(str(model)).parameters, "", f"{CONFIG}: {model}")


def _read(model: str) -> Quantity:
    return given("weights_read", _read_a_token(model), "", f"{CONFIG}: {model}", note="all but the embedding table")


def _read_a_token(model: str) -> int:
    """Weights a decode step reads: all but an embedding table of which it reads one row."""
    found = architecture(str(model))
    return found.parameters if found.tied else found.parameters - found.embedding


def _bandwidth(gpu: str) -> Quantity:
    return given("bytes_per_s", hardware(str(gpu)).bytes_per_s, "B/s", f"{SHEET}: {gpu}")


def parameters_b(model: str) -> Quantity:
    return derived("parameters_b", "B", "parameters / 1e9", _parameters(model))


def weights_gb(model: str, bits: float) -> Quantity:
    """Weights alone at so many bits each, without scales, KV cache or runtime."""
    return derived(
        "weights_gb", "GB", "parameters * bits / 8 / 1e9", _parameters(model), given("bits", bits, "bit", "the format")
    )


def kv_bytes_per_token(model: str, bits: float = 16) -> Quantity:
    found = architecture(str(model))
    if found.mixers:
        return memory.kv_bytes_per_token(found, bits)
    return derived(
        "kv_bytes_per_token",
        "B",
        "2 * layers * kv_heads * head_dim * bits / 8",
        given("layers", found.num_layers, "", f"{CONFIG}: {model}"),
        given("kv_heads", found.num_kv_heads, "", f"{CONFIG}: {model}"),
        given("head_dim", found.head_dim, "", f"{CONFIG}: {model}"),
        given("bits", bits, "bit", "the KV cache's format"),
    )


def kv_gb(model: str, tokens: float, bits: float = 16) -> Quantity:
    return derived(
        "kv_gb",
        "GB",
        "kv_bytes_per_token * tokens / 1e9",
        kv_bytes_per_token(model, bits),
        given("tokens", tokens, "tok", CLAIMED),
    )


def kv_sharing(model: str) -> Quantity:
    """How many times smaller grouped-query attention makes the KV cache."""
    found = architecture(str(model))
    return derived(
        "kv_reduction",
        "x",
        "heads / kv_heads",
        given("heads", found.num_heads, "", f"{CONFIG}: {model}"),
        given("kv_heads", found.num_kv_heads, "", f"{CONFIG}: {model}"),
    )


def moe_active_b(model: str, experts: float, active: float) -> Quantity:
    """Active parameters if the model's MLPs were split into `experts` of which `active` work on a token."""
    found = architecture(str(model))
    return derived(
        "active_b",
        "B",
        "(parameters - mlp + mlp * active / experts) / 1e9",
        _parameters(model),
        given("mlp", found.dense_mlp, "", f"{CONFIG}: {model}"),
        given("active", active, "", CLAIMED),
        given("experts", experts, "", CLAIMED),
    )


def decode_ceiling(model: str, gpu: str, bits: float, gpus: float = 1) -> Quantity:
    """Tokens a second one sequence can reach when every weight is read once a token and nothing else costs time."""
    return derived(
        "decode_ceiling",
        "tok/s",
        "gpus * bytes_per_s / (weights_read * bits / 8)",
        _gpus(gpus),
        _bandwidth(gpu),
        _read(model),
        given("bits", bits, "bit", "the format"),
    )


def decode_ceiling_gb(read_gb: float, gpu: str, gpus: float = 1) -> Quantity:
    """The same for a stated number of gigabytes a token."""
    return derived(
        "decode_ceiling",
        "tok/s",
        "gpus * bytes_per_s / (read_gb * 1e9)",
        _gpus(gpus),
        _bandwidth(gpu),
        given("read_gb", read_gb, "GB", CLAIMED),
    )


def batch_ceiling(
    model: str, gpu: str, bits: float, kv_bits: float, sequences: float, context: float = 1024
) -> Quantity:
    """Tokens a second of all `sequences` together: weights once a step, the KV cache of each."""
    return derived(
        "batch_ceiling",
        "tok/s",
        "sequences * bytes_per_s / (weights_read * bits / 8 + sequences * context * kv_bytes_per_token)",
        given("sequences", sequences, "", "as many as fit"),
        _bandwidth(gpu),
        _read(model),
        given("bits", bits, "bit", "the format"),
        given("context", context, "tok", "assumed"),
        kv_bytes_per_token(model, kv_bits),
    )


def sequences_that_fit(
    model: str, gpu: str, bits: float, kv_bits: float, context: float = 1024, runtime_gb: float = 3.5
) -> Quantity:
    """Whole sequences whose KV cache fits beside weights and runtime."""
    return derived(
        "sequences",
        "",
        "floor((memory_gb - runtime_gb - weights_gb) * 1e9 / (context * kv_bytes_per_token))",
        given("memory_gb", hardware(str(gpu)).memory_bytes / 1e9, "GB", f"{SHEET}: {gpu}"),
        given("runtime_gb", runtime_gb, "GB", "assumed"),
        weights_gb(model, bits),
        given("context", context, "tok", "assumed"),
        kv_bytes_per_token(model, kv_bits),
    )


def prefill_ceiling(model: str, gpu: str, gpus: float = 1) -> Quantity:
    """Prompt tokens a second at the card's dense bf16 peak: 2 operations a weight and token."""
    return derived(
        "prefill_ceiling",
        "tok/s",
        "gpus * bf16_flops / (2 * weights_read)",
        _gpus(gpus),
        given("bf16_flops", hardware(str(gpu)).peak("bf16"), "FLOP/s", f"{SHEET}: {gpu}"),
        _read(model),
    )


def gqa_gain_percent(model: str, context: float) -> Quantity:
    """How much faster a bf16 decode step reads its bytes than with as many KV heads as query heads."""
    return derived(
        "gqa_gain",
        "%",
        "((parameters * 2 + context * kv_bytes_per_token * kv_reduction)"
        " / (parameters * 2 + context * kv_bytes_per_token) - 1) * 100",
        _parameters(model),
        given("context", context, "tok", "batch times context"),
        kv_bytes_per_token(model),
        kv_sharing(model),
    )


def memory_gb(gpu: str, gpus: float = 1) -> Quantity:
    return derived(
        "memory_gb",
        "GB",
        "gpus * card_gb",
        _gpus(gpus),
        given("card_gb", hardware(str(gpu)).memory_bytes / 1e9, "GB", SHEET),
    )


def usd_per_mtok(rent_usd_per_h: float, tok_per_s: float) -> Quantity:
    """Full load."""
    return cost.usd_per_mtok(_rent(rent_usd_per_h), given("speed_tok_per_s", tok_per_s, "tok/s", CLAIMED), _full())


def tok_per_s_for(rent_usd_per_h: float, price_usd_per_mtok: float) -> Quantity:
    """The speed at which a rent comes to a price a million tokens."""
    price = given("usd_per_mtok", price_usd_per_mtok, "USD/Mtok", CLAIMED)
    return cost.speed_needed_tok_per_s(_rent(rent_usd_per_h), price)


def rent_a_month(rent_usd_per_h: float, gpus: float = 1) -> Quantity:
    return cost.rent_usd_per_month(_rent(rent_usd_per_h), int(gpus))


def mtok_a_month(tok_per_s: float) -> Quantity:
    return cost.capacity_mtok_per_month(given("speed_tok_per_s", tok_per_s, "tok/s", CLAIMED), _full())


def break_even_mtok(rent_usd_per_h: float, api_usd_per_mtok: float) -> Quantity:
    """Volume at which one rented GPU costs what the API does, if the GPU could make it."""
    return derived(
        "break_even_mtok_per_month",
        "Mtok/month",
        "rent_usd_per_month / api_usd_per_mtok",
        rent_a_month(rent_usd_per_h),
        given("api_usd_per_mtok", api_usd_per_mtok, "USD/Mtok", CLAIMED),
    )


def blend(input_usd_per_mtok: float, output_usd_per_mtok: float, input_parts: float = 3) -> Quantity:
    """A price for `input_parts` input tokens to one of output."""
    return cost.blended_usd_per_mtok(
        given("input_usd_per_mtok", input_usd_per_mtok, "USD/Mtok", CLAIMED),
        given("output_usd_per_mtok", output_usd_per_mtok, "USD/Mtok", CLAIMED),
        input_parts,
        1,
    )


def finetune_hours(model: str, gpu: str, examples: float, tokens: float, mfu: float) -> Quantity:
    """Six operations a weight and token: adapters trained, activations recomputed."""
    return derived(
        "training_hours",
        "h",
        "6 * parameters * examples * tokens / (bf16_flops * mfu) / 3600",
        _parameters(model),
        given("examples", examples, "", CLAIMED),
        given("tokens", tokens, "tok", "an example, assumed"),
        given("bf16_flops", hardware(str(gpu)).peak("bf16"), "FLOP/s", f"{SHEET}: {gpu}"),
        given("mfu", mfu, "", "reached share of the peak, assumed"),
    )


def delta_low(percent_a: float, percent_b: float, items: float) -> Quantity:
    """Lower end of the 95 % interval of a difference of two scores, each on its own `items` items."""
    return _delta("-", percent_a, percent_b, items)


def delta_high(percent_a: float, percent_b: float, items: float) -> Quantity:
    return _delta("+", percent_a, percent_b, items)


def _delta(sign: str, percent_a: float, percent_b: float, items: float) -> Quantity:
    return derived(
        f"delta_{'low' if sign == '-' else 'high'}",
        "points",
        f"100 * (a - b {sign} 1.959964 * sqrt(a * (1 - a) / n + b * (1 - b) / n))",
        given("a", percent_a / 100, "", CLAIMED),
        given("b", percent_b / 100, "", CLAIMED),
        given("n", items, "", "assumed: all scores are even"),
    )


def yes_if_at_most(value: float, limit: float) -> Words:
    return Words("yes" if value <= limit else "no", f"{value:.4g} against {limit:.4g}")


def fact(key: str) -> Value:
    """A looked-up value that is one number or words."""
    found = find_fact(key)
    read = stated(found.value)
    if read.low is None or read.low != read.high:
        return Words(found.value, found.origin())
    return given("fact", read.low, found.unit, found.origin())


def fact_low(key: str) -> Quantity:
    return _fact_end(key, "low")


def fact_high(key: str) -> Quantity:
    return _fact_end(key, "high")


def _fact_end(key: str, which: str) -> Quantity:
    found = find_fact(key)
    read = stated(found.value)
    value = read.low if which == "low" else read.high
    if value is None:
        raise InvalidParameter(f"the fact {key!r} is {found.value!r}, no number")
    return given(f"fact_{which}", value, found.unit, found.origin())


def score_low(benchmark: str, model: str) -> Quantity:
    """The lowest published score of a model on a benchmark, over settings and versions."""
    return _score(benchmark, model, min)


def score_high(benchmark: str, model: str) -> Quantity:
    return _score(benchmark, model, max)


def nearest_score(benchmark: str, model: str, said: float) -> Quantity:
    """Of a model's published scores on a benchmark the one nearest to what is said; the note lists them all."""
    rows = _score_rows(benchmark, model)
    nearest = min(rows, key=lambda row: abs(row.value - said))
    values = ", ".join(f"{value:g}" for value in sorted({row.value for row in rows}))
    return given("score", nearest.value, "%", nearest.origin(), note=f"published: {values}")


def _score(benchmark: str, model: str, pick: Callable[..., float]) -> Quantity:
    rows = _score_rows(benchmark, model)
    value = pick(row.value for row in rows)
    origin = "; ".join(row.origin() for row in rows if row.value == value)
    return given("score", value, "%", origin)


def _score_rows(benchmark: str, model: str) -> tuple[Score, ...]:
    rows = scores(model, benchmark)
    if not rows:
        raise InvalidParameter(f"no published score of {model} on {benchmark} is known here")
    return rows


def rent_low(gpu: str) -> Quantity:
    """The lowest and, in `rent_high`, the highest rent of a GPU in the shipped table."""
    return min(_rents(gpu), key=lambda row: row.value)


def rent_high(gpu: str) -> Quantity:
    return max(_rents(gpu), key=lambda row: row.value)


def _rents(gpu: str) -> list[Quantity]:
    table = shipped_prices()
    cheapest = table.cheapest_rent(gpu)
    return [row.quantity() for row in table.rents if row.gpu == cheapest.gpu]


def mean(*values: float) -> Quantity:
    if not values:
        raise InvalidParameter("mean() needs numbers")
    return computed("mean", sum(values) / len(values), "", f"mean of {len(values)} numbers")


def _rent(usd_per_h: float) -> Quantity:
    return given("rent_usd_per_h", usd_per_h, "USD/h", CLAIMED)


def _full() -> Quantity:
    return cost.utilisation(1.0)


_FIXED: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            parameters_b, weights_gb, kv_bytes_per_token, kv_gb, kv_sharing, moe_active_b, memory_gb,
            decode_ceiling, decode_ceiling_gb, batch_ceiling, sequences_that_fit, prefill_ceiling, gqa_gain_percent,
            usd_per_mtok, tok_per_s_for, rent_a_month, mtok_a_month, break_even_mtok, blend, finetune_hours,
            rent_low, rent_high, delta_low, delta_high, mean, yes_if_at_most, fact, fact_low, fact_high,
            score_low, score_high, nearest_score,
        )
    }
)  # fmt: skip
