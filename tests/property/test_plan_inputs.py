"""Whatever a user writes into the planner's files, an answer or one of our errors comes out; its arithmetic holds."""

import contextlib
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wayra.base.errors import WayraError
from wayra.plan import cost
from wayra.plan.claims.check import check_claims
from wayra.plan.claims.claim import parse_claims
from wayra.plan.claims.functions import functions
from wayra.plan.claims.language import derive
from wayra.plan.expression import evaluate
from wayra.plan.prices.table import PriceTable, parse_prices
from wayra.plan.quantity import given as given_quantity
from wayra.plan.workload import Workload, workload_of

TODAY = date(2026, 11, 21)
SYMBOLS = "abA01.5+-*/()[]{}'\",:=<> \n_lambdaeimportw"
WORDS = [
    "A1", "1", "2.5", "'llama-3.1-8b'", '"h100-pcie"', "weights_gb", "fact", "low", "high", "delta_low", "mean", "min",
    "(", ")", ",", "+", "*", "**", "/", " .. ", "bits=", "[", "]", ".", "'", "None", "True", "lambda", ":", "1e308",
]  # fmt: skip
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
KEYS = [
    "traffic", "input_tokens", "output_tokens", "requests_per_month", "limits", "latency_p95_s", "context", "rules",
    "privacy", "quality", "mmlu", "budget", "have", "rtx4090", "route", "share", "fine_tuning", "examples", "owning",
    "years", "choice", "models", "name", "peak_factor",
]  # fmt: skip


@given(st.text(SYMBOLS, max_size=40))
def test_any_text_is_arithmetic_or_refused(text: str):
    with contextlib.suppress(WayraError):
        assert isinstance(evaluate(text, {"a": 1.0, "A": 2.0}), float)


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_any_derivation_has_a_value_or_is_refused(expression: str):
    claims = {
        claim.id: claim for claim in parse_claims("id,subject,metric,claimed,unit,check\nA1,s,m,3,x,external\n", "t")
    }
    try:
        found = derive(expression, "x", claims, functions(TODAY))
    except WayraError:
        return
    assert found.low is not None or found.words is not None


@given(st.text('A1,"\n;5.<>=-xyes', max_size=60))
def test_any_list_of_claims_is_judged_or_refused(rows: str):
    try:
        results = check_claims(
            parse_claims("id,subject,metric,claimed,unit,check,relation,derivation\n" + rows, "t"), prices_of=TODAY
        )
    except WayraError:
        return
    assert all(result.judgement.verdict for result in results)


@given(st.text('[]"=.rentapi gpuprice10\n{}', max_size=80))
def test_any_price_file_is_read_or_refused(text: str):
    with contextlib.suppress(WayraError):
        assert isinstance(parse_prices(text, "t"), PriceTable)


@settings(max_examples=200)
@given(
    st.recursive(
        STRANGE, lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=5) | st.lists(inner, max_size=2)
    )
)
def test_any_table_is_a_workload_or_refused(document: object):
    table = document if isinstance(document, dict) else {"traffic": document}
    base = {"traffic": {"input_tokens": 5, "output_tokens": 5, "requests_per_month": 10}}
    for candidate in (table, {**base, **table}):
        with contextlib.suppress(WayraError):
            assert isinstance(workload_of(candidate, "t"), Workload)


@given(
    st.floats(min_value=0.01, max_value=1e4),
    st.floats(min_value=1, max_value=1e6),
    st.floats(min_value=0.001, max_value=1e3),
)
def test_break_even_is_where_both_cost_the_same_and_never_otherwise(rent: float, speed: float, price: float):
    machine = cost.rent_usd_per_month(given_quantity("r", rent, "USD/h", ""), 1)
    capacity = cost.capacity_mtok_per_month(given_quantity("s", speed, "tok/s", ""), cost.utilisation(1.0))
    found = cost.break_even(machine, capacity, given_quantity("p", price, "USD/Mtok", ""))
    if found.volume is None:
        assert found.full_load_usd_per_mtok.value > price
    else:
        assert found.volume.value * price == pytest.approx(machine.value)
        assert found.volume.value <= capacity.value
    for point in found.curve:
        assert point.machines * capacity.value >= point.mtok_per_month * (1 - 1e-6)
        assert point.own_usd_per_month == pytest.approx(point.machines * machine.value)
