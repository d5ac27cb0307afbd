"""Prices: units, dates, overrides and refusals of the price file, and the list of API prices."""

from datetime import date
from pathlib import Path

import pytest

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.prices import api
from wayra.plan.prices.dated import age_days, is_stale, stale_warning
from wayra.plan.prices.table import parse_prices, read_prices, shipped_prices, stated_rent

ROW = 'provider = "p"\nas_of = "2026-03"\nsource = "s"\n'


def rent(extra: str) -> str:
    return f'[[rent]]\ngpu = "x"\n{ROW}{extra}\n'


def test_every_shipped_price_has_a_date_and_a_source():
    table = shipped_prices()
    rows = [*table.rents, *table.purchases]
    assert len(rows) >= 20
    assert all(row.source and age_days(row.as_of, date(2026, 11, 21)) >= 0 for row in rows)


def test_units_are_converted_to_dollars_an_hour_and_a_million_tokens():
    text = (
        rent('price = 1460\nunit = "USD/month"')
        + f'[[api]]\nmodel = "m"\ninput = 0.001\noutput = 2\nunit = "USD/ktok"\n{ROW}'
    )
    table = parse_prices(text, "price file")
    assert table.rents[0].usd_per_h == pytest.approx(2.0)  # 1,460 / 730
    assert (table.apis[0].input_usd_per_mtok, table.apis[0].output_usd_per_mtok) == (pytest.approx(1.0), 2000.0)


def test_a_users_row_replaces_every_shipped_row_of_that_gpu():
    own = parse_prices(rent('price = 9\nunit = "USD/h"').replace('"x"', '"h100-pcie"'), "price file")
    table = shipped_prices().overridden_by(own)
    assert [row.usd_per_h for row in table.rents if row.gpu == "h100-pcie"] == [9]
    assert table.cheapest_rent("l40s").usd_per_h == 0.79


def test_a_stated_rent_is_dated_today():
    assert stated_rent("l40s", 0.5, date(2026, 11, 21)).as_of == "2026-11-21"


def test_age_counts_from_the_first_day_a_vague_date_allows():
    today = date(2026, 11, 21)
    assert age_days("2026-11-20", today) == 1
    assert age_days("2026-11", today) == 20
    assert age_days("2026", today) == 324
    assert is_stale("2026", today)
    assert not is_stale("2026-10", today)
    assert stale_warning("rent of x", "2026-10", today) is None
    assert stale_warning("rent of x", "2026", today) == (
        "rent of x is of 2026, 324 days ago; check it and pass a newer one with --prices FILE"
    )
    assert "future" in str(stale_warning("rent of x", "2027", today))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rent('price = 1\nunit = "EUR/h"'), "rent 1 has the unit 'EUR/h'; expected USD/h, USD/s, USD/day, USD/month"),
        (rent("price = 1"), "needs a text 'unit'"),
        (rent('price = 0\nunit = "USD/h"'), "'price' is 0 USD/h; expected more than 0"),
        (rent('price = nan\nunit = "USD/h"'), "'price' is nan"),
        (rent('price = "1"\nunit = "USD/h"'), "needs a number 'price'"),
        (rent('price = true\nunit = "USD/h"'), "needs a number 'price'"),
        (rent('price = 1\nunit = "USD/h"').replace("2026-03", "2026-13"), "is no date"),
        (rent('price = 1\nunits = "USD/h"'), "unknown key 'units'; did you mean 'unit'"),
        ("[[rents]]\n", "has a table 'rents'"),
        ("rent = 3\n", r"must be written as \[\[rent\]\]"),
        ("rent = [\n", "is no TOML"),
        ('[[purchase]]\ngpu="x"\nprice=5\nlow=6\nhigh=7\nunit="USD"\nas_of="2026"\nsource="s"', "price between them"),
        (f'[[api]]\nmodel="m"\ninput=1\noutput=1\nunit="USD/h"\n{ROW}', "expected USD/Mtok, USD/ktok, USD/tok"),
        (f'[[api]]\nmodel="m"\ninput=1\noutput=1\ncontext=-1\nunit="USD/Mtok"\n{ROW}', "context of -1"),
    ],
)
def test_a_wrong_price_file_is_refused_naming_the_row(text: str, message: str):
    with pytest.raises(FileFormatError, match=message):
        parse_prices(text, "price file")


def test_a_price_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="not UTF-8"):
        read_prices(tmp_path / "binary.toml")
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_prices(tmp_path / "absent.toml")


def test_an_unpriced_gpu_is_refused_with_the_nearest_names():
    with pytest.raises(InvalidParameter, match="h100-pcie"):
        shipped_prices().cheapest_rent("h100")
    with pytest.raises(InvalidParameter, match="no rent of 'l40s' at nobody"):
        shipped_prices().cheapest_rent("l40s", "nobody")


class TestApiPrices:
    """Against the list that is installed; skipped without the extra."""

    @pytest.fixture(autouse=True)
    def _needs_the_list(self):
        pytest.importorskip("genai_prices")

    def test_gpt_4o_costs_2_50_in_10_out_and_1_25_cached(self):
        price = api.api_price("openai", "gpt-4o", on=date(2026, 11, 21))
        assert (price.input_usd_per_mtok, price.output_usd_per_mtok, price.cached_usd_per_mtok) == (2.5, 10.0, 1.25)
        assert price.source.startswith("genai-prices ")
        assert price.as_of == api.list_date()

    def test_a_long_prompt_reaches_the_dearer_tier(self):
        short = api.api_price("google", "gemini-2.5-pro", on=date(2026, 11, 21), prompt_tokens=1000)
        long = api.api_price("google", "gemini-2.5-pro", on=date(2026, 11, 21), prompt_tokens=300_000)
        assert long.input_usd_per_mtok == 2 * short.input_usd_per_mtok

    def test_unknown_providers_and_models_are_refused_with_the_nearest_names(self):
        with pytest.raises(InvalidParameter, match="nearest: openai"):
            api.api_price("opnai", "gpt-4o", on=date(2026, 11, 21))
        with pytest.raises(InvalidParameter, match="nearest: gpt-4o"):
            api.api_price("openai", "gtp-4o", on=date(2026, 11, 21))

    def test_where_no_cached_price_is_listed_the_full_one_counts(self):
        price = api.api_price("groq", "llama-3.1-70b-versatile", on=date(2026, 11, 21))
        assert price.cached_price().value == price.input_usd_per_mtok
