"""What a comparison says in words and as a page, and what the price list knows of a server."""

import re
from dataclasses import replace
from datetime import date

import msgspec
import pytest
from comparisons import comparison

from wayra.lab.compare.page import page
from wayra.lab.compare.page.charts import Point, lines, steps, strip
from wayra.lab.compare.prices import price_or_reason
from wayra.lab.compare.report import specification
from wayra.lab.compare.verdict import verdict
from wayra.plan.models import Architecture, architecture


def test_the_verdict_names_only_what_is_significant_and_turns_ratios_the_readable_way() -> None:
    said = comparison().verdict
    assert said[0].startswith(
        "B is better than A on task:maths (score): 80.0 against 40.0, a difference of 30.0 to 50.0"
    )
    assert said[1] == "A is faster than B: decode of 64 tokens 2.00 times the rate (1.82 to 2.22)."
    assert [text.split(" ")[0] for text in said[2:]] == ["task:sql", "task:writing"]
    assert "1 at once" not in " ".join(said)
    slow = [replace(one, is_significant=False) for one in comparison().raced]
    assert verdict([], slow) == [
        "No benchmark was asked of two models, so nothing is said of which answers better.",
        "No speed of A and B differs significantly in 5 rounds.",
    ]


def test_the_page_is_complete_in_itself_and_says_what_the_comparison_says() -> None:
    text = page(comparison(second="<b>&\"' large"), "some-run")
    assert not re.findall(r"<(?:script|img|link|iframe|object)\b", text)
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", text)
    assert "url(" not in text
    assert "&lt;b&gt;&amp;&quot;&#x27; large" in text
    assert "<b>" not in text
    assert "B is better than A on Maths word problems (score)" in text
    assert "420 items for 5.0 points" in text
    assert "2.00 times the rate" in text
    assert "4.375" in text
    assert "some-run" in text


def test_an_axis_has_round_numbers_around_what_it_shows() -> None:
    assert steps(0, 386.4).ticks == (0, 100, 200, 300, 400)
    assert steps(0, 0.07).ticks == pytest.approx((0, 0.02, 0.04, 0.06, 0.08))
    assert steps(0, 0).high > 0
    assert steps(0, 400).at(100) == 25


def test_marks_stand_at_their_values() -> None:
    drawn = strip([Point("A", 25.0, 0.0, 50.0)], steps(0, 100), "a quarter")
    assert 'cx="25.0%"' in drawn
    assert 'x1="0%"' in drawn
    assert 'x2="50%"' in drawn
    curve = lines([[Point("A", 1.0), None, Point("A", 2.0)]], ["1", "2", "4"], str, "said")
    assert curve.count("<circle") == 2
    assert curve.count('class="line mA"') == 1


def test_prices_come_from_the_list_for_a_provider_it_knows_and_for_nobody_else() -> None:
    today = date(2026, 11, 1)
    price, reason = price_or_reason("https://api.openai.com/v1", "gpt-4o", today)
    assert reason == ""
    assert price is not None
    assert (price.input_usd, price.output_usd) == (2.5, 10.0)
    assert "genai-prices" in price.source
    assert price_or_reason("http://127.0.0.1:8000", "gpt-4o", today) == (None, "")
    assert price_or_reason("https://api.openai.com.evil.example/v1", "gpt-4o", today)[0] is None
    missing, why = price_or_reason("https://api.openai.com", "no-such-model-at-all", today)
    assert missing is None
    assert "no-such-model-at-all" in why


def test_a_specification_says_what_models_keep_of_a_token_and_of_a_sequence() -> None:
    def told(*names: str) -> dict[str, list[float | None]]:
        rows = specification([architecture(name) for name in names])
        return {row.name: [cell.value for cell in row.cells] for row in rows}

    found = told("deepseek-v3", "nemotron-3-nano", "llama-3.1-8b")
    # 61 layers of 576 values; 6 of 2 heads of 128, keys and values; 32 of 8 heads of 128: in 2 bytes.
    assert found["keys and values of a token, 16 bit"] == pytest.approx([70.272, 6.144, 131.072])
    # 23 layers: 3 tokens of 6,144 channels in 2 bytes and 4,096 * 128 values in 4.
    assert found["state of a sequence"] == pytest.approx([0, 23 * (3 * 6144 * 2 + 4096 * 128 * 4) / 1e6, 0])
    assert "state of a sequence" not in told("deepseek-v3", "llama-3.1-8b")


def test_a_description_survives_a_runs_header() -> None:
    for name in ("deepseek-v3.2", "qwen3.5-35b-a3b", "llama-4-scout"):
        model = architecture(name)
        assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(model)), Architecture) == model
