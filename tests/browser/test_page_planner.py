"""The planner's page in Chromium: what is planned is shown, every number explains itself, and all can use it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from page_looks import PHONE, axe_complaints
from planner_page import PlannerPage

pytestmark = pytest.mark.browser

KEY = "sk-page-0123456789"


def private(planner: PlannerPage) -> PlannerPage:
    """Machines alone, so that memory and latency are seen."""
    planner.page.get_by_text("Rules", exact=True).click()
    planner.page.get_by_label("No third party").check()
    return planner.wait()


def test_the_best_option_costs_what_the_command_says(planner: PlannerPage) -> None:
    from datetime import UTC, datetime

    from wayra.plan.market import Market
    from wayra.plan.planner import make_plan
    from wayra.plan.prices.table import shipped_prices
    from wayra.plan.workload import scenario

    made = make_plan(scenario("startup-chatbot"), Market(shipped_prices(), datetime.now(tz=UTC).date()))
    assert planner.best == made.options[0].label
    assert planner.price == f"${made.options[0].usd_per_month.value:,.0f}"
    known = sum(option.known_to_meet for option in made.options)
    heading = f"{known} options known to meet it, {len(made.options) - known} that may"
    assert planner.page.get_by_role("heading", name=heading).is_visible()
    assert planner.page.get_by_role("heading", name=f"{len(made.rejected)} rejected").is_visible()


def test_a_number_explains_itself_down_to_its_sources(planner: PlannerPage) -> None:
    planner.page.get_by_label("Whole answer, P95", exact=True).uncheck()
    planner.wait()
    dialog = planner.explain("Cost a month")
    text = dialog.inner_text()
    # 100,000 requests of 800 and 250 tokens; the list says 0.10 and 0.40 USD.
    assert "= 100,000 ÷ 1,000,000 × (800 × ((1 \u2212 0) × 0.1 + 0 × 0.025) + 250 × 0.4)" in text
    assert re.search(r"Source: openai gpt-4.1-nano: genai-prices [\d.]+, \d{4}-\d\d-\d\d", text)
    planner.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    focused = planner.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("Cost a month: ")


def test_machines_show_memory_latency_and_cost_over_tokens(planner: PlannerPage) -> None:
    private(planner)
    closer = planner.page.locator(".closer")
    bar = closer.get_by_role("img", name=re.compile("^Memory of one machine: Weights .* GB, KV cache "))
    widths = bar.locator(".piece").evaluate_all("nodes => nodes.map((node) => node.getBoundingClientRect().width)")
    assert len(widths) == 4
    assert all(width > 0 for width in widths)
    closer.get_by_role("button", name=re.compile("^KV cache: ")).click()
    dialog = planner.page.get_by_role("dialog", name="KV cache")
    assert "sequences at once × KV cache of a sequence" in dialog.inner_text()
    planner.page.keyboard.press("Escape")
    charts = closer.locator("figure figcaption").all_inner_texts()
    assert [title.partition(" (")[0] for title in charts] == [
        "Time to first token",
        "Time per output token",
        "Whole answer",
    ]
    closer.get_by_label("by load").check()
    assert "requests a second, one machine" in closer.locator("figure svg").first.get_attribute("aria-label")
    closer.get_by_role("button", name=re.compile("^Time per output token: .* with 4 sequences at once")).click()
    dialog = planner.page.get_by_role("dialog", name="Tokens a second, one user")
    assert "4 sequences at once" in dialog.inner_text()
    planner.page.keyboard.press("Escape")
    closer.get_by_role("img", name=re.compile("^Cost a month over tokens a month")).wait_for()


def test_an_api_breaks_even_never_or_somewhere(planner: PlannerPage) -> None:
    card = planner.page.get_by_role("region", name="Break-even")
    assert re.search(r"Break-even: (never|from [\d,]+ Mtok)", card.inner_text())
    card.get_by_text("As a table").click()
    cells = card.locator("tbody tr").first.locator("td").all_inner_texts()
    assert len(cells) == 4
    card.get_by_role("button", name=re.compile("^Capacity of one machine: ")).click()
    dialog = planner.page.get_by_role("dialog", name="Capacity of one machine")
    assert (
        "requests a second of one machine ÷ peak over mean × (tokens of the prompt + tokens of the answer)"
        in dialog.inner_text()
    )


def test_another_option_is_looked_at_closely_and_kept(planner: PlannerPage) -> None:
    pick = planner.page.locator(".options .pick").nth(2)
    label = pick.locator("span").last.inner_text()
    pick.click()
    planner.wait()
    assert planner.page.locator(".closer h2").first.inner_text() == label
    number = planner.page.get_by_label("Prompt, tokens", exact=True)
    number.fill("900")
    planner.wait()
    assert planner.page.locator(".closer h2").first.inner_text() == label


def test_what_is_not_known_to_meet_a_limit_is_listed_apart(planner: PlannerPage) -> None:
    rows = planner.page.locator(".options tbody tr")
    texts = rows.all_inner_texts()
    apart = next(place for place, text in enumerate(texts) if text.startswith("Not known to meet the limit on latency"))
    assert 0 < apart < len(texts) - 1
    assert all(" API" not in text for text in texts[:apart])
    assert all(" API of " in text for text in texts[apart + 1 :] if "models shown above" not in text)
    ranks = [re.match(r"(\d+)(?: to (\d+))?", text) for place, text in enumerate(texts) if place != apart]
    spans = [(int(found[1]), int(found[2] or found[1])) for found in ranks if found]
    assert [first for first, _ in spans] == [1, *(last + 1 for _, last in spans[:-1])]
    rows.nth(apart + 1).locator(".pick").click()
    planner.wait()
    assert planner.page.locator(".closer p.unsure").inner_text().startswith("Not known to meet the limit on latency")
    planner.page.get_by_label("Whole answer, P95", exact=True).uncheck()
    planner.wait()
    assert planner.page.locator(".unsure").count() == 0


def test_what_is_cheaper_and_may_meet_the_limits_is_told_beside_the_best(planner: PlannerPage) -> None:
    told = planner.page.locator(".best .cheaper")
    words = "GPT-4.1 nano, API of openai costs $18.00. Whether it meets the limit on latency cannot be known from here."
    assert told.inner_text().startswith(words)
    told.get_by_role("button", name="Look at it").click()
    planner.wait()
    assert planner.page.locator(".closer h2").first.inner_text() == "GPT-4.1 nano, API of openai"
    planner.page.get_by_label("Whole answer, P95", exact=True).uncheck()
    planner.wait()
    assert told.count() == 0


def test_computed_times_show_their_interval_or_that_none_is_known(planner: PlannerPage) -> None:
    private(planner)
    shown = planner.page.locator(".best .facts > div", has_text="Whole answer, P95").locator(".within").inner_text()
    assert re.fullmatch(r"[\d.]+ s to [\d.]+ s", shown)
    texts = planner.page.locator(".best .within").all_inner_texts()
    assert len(texts) == 3
    assert all(text == "not validated" or " to " in text for text in texts)


def test_rejected_options_are_sorted_out_by_constraint(planner: PlannerPage) -> None:
    planner.page.get_by_role("button", name=re.compile(r"^memory \d+")).click()
    items = planner.page.locator(".rejected > li")
    texts = items.all_inner_texts()
    assert texts
    assert all("memory one sequence of" in text for text in texts)
    items.first.locator(".pick").click()
    planner.wait()
    assert "GB can be used" in planner.page.locator(".closer .failures").inner_text()


def test_a_conflict_names_its_constraints_and_lets_one_go(planner: PlannerPage) -> None:
    private(planner)
    planner.page.get_by_label("Whole answer, P95, s", exact=True).fill("0.01")
    planner.wait()
    best = planner.page.locator(".best.none")
    assert "Nothing meets it" in best.inner_text()
    best.get_by_role("button", name="Without latency").click()
    planner.wait()
    assert planner.page.locator(".best .price").is_visible()
    assert "latency_p95_s" not in planner.tables.get("limits", {})


TEXTS_THAT_MEET = """() => [...document.querySelectorAll(".chart-box svg")].flatMap((svg) => {
  const found = (what) =>
    [...svg.querySelectorAll(what)].map((one) => ({ of: one.textContent || what, box: one.getBoundingClientRect() }));
  const [texts, lines] = [found("text"), found(".mark")];
  const meets = ({ box: one }, { box: other }) =>
    one.left < other.right && other.left < one.right && one.top < other.bottom - 2 && other.top < one.bottom - 2;
  const outside = texts.filter(({ box }) => box.left < 0 || box.right > innerWidth).map(({ of }) => [of, "the edge"]);
  const pairs = texts.flatMap((one, place) => [...texts.slice(place + 1), ...lines].map((other) => [one, other]));
  return pairs.filter(([one, other]) => meets(one, other)).map(([one, other]) => [one.of, other.of]).concat(outside);
})"""


@pytest.mark.parametrize("width", [320, 390, 600, 900, 1280, 1900])
def test_no_texts_of_a_chart_meet(new_planner: Callable[..., PlannerPage], width: int) -> None:
    planner = new_planner(viewport={"width": width, "height": 800}).open()
    for scenario in ("startup-chatbot", "hipaa-on-premises", "research-lab"):
        planner.scenario(scenario)
        planner.page.evaluate("document.querySelectorAll('details.card').forEach((card) => { card.open = true; })")
        planner.page.wait_for_timeout(100)
        assert planner.page.locator(".chart-box svg").count() > 0 or scenario == "research-lab"
        assert planner.page.evaluate(TEXTS_THAT_MEET) == []
    # The workload moves towards the ceiling and past it.
    planner.scenario("hipaa-on-premises")
    for requests in ("700000", "1000000", "1050000", "1100000"):
        planner.page.evaluate("document.querySelectorAll('#form details').forEach((group) => { group.open = true; })")
        planner.page.get_by_label("Rate", exact=True).fill(requests)
        planner.wait()
        assert planner.page.evaluate(TEXTS_THAT_MEET) == [], requests


def test_explanations_speak_no_code(planner: PlannerPage) -> None:
    private(planner)
    for button in planner.page.locator(".best .num, .closer .num").all():
        button.click()
        dialog = planner.page.locator("#explain")
        dialog.evaluate("node => node.querySelectorAll('details').forEach((step) => { step.open = true; })")
        told = dialog.locator(".in-words, .what, .formula").all_inner_texts()
        assert [text for text in told if re.search(r"[a-z]_[a-z]", text)] == []
        planner.page.keyboard.press("Escape")


def test_the_theme_is_that_of_the_chat(new_page: Callable[..., Any], null_server: LiveServer) -> None:
    chat = new_page(null_server.url, color_scheme="light").open()
    chat.page.get_by_role("button", name="Use the dark theme").click()
    chat.page.get_by_role("link", name="Planner").click()
    planner = PlannerPage(chat).wait()
    planner.base.expect(planner.page.locator("body")).to_have_css("background-color", "rgb(22, 24, 28)")
    planner.page.get_by_role("button", name="Use the light theme").click()
    planner.page.get_by_role("link", name="Chat").click()
    chat.expect(chat.page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")


def test_the_chat_leads_to_the_planner_and_back(new_page: Callable[..., Any], null_server: LiveServer) -> None:
    chat = new_page(null_server.url).open()
    chat.page.get_by_role("link", name="Planner").click()
    planner = PlannerPage(chat).wait()
    planner.page.get_by_role("link", name="Chat").click()
    chat.prompt.wait_for()


def test_a_server_with_keys_is_asked_with_the_key_of_the_chat(
    new_page: Callable[..., Any], smollm2_path: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{KEY}\n")
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "512", "--api-key-file", str(keys)) as live:
        base = new_page(live.url)
        base.expected.append("status of 401")
        base.page.goto(f"{live.url}/plan")
        dialog = base.page.get_by_role("dialog", name="This server needs an API key")
        dialog.get_by_label("API key").fill("sk-wrong-0123456789")
        base.page.keyboard.press("Enter")
        dialog.get_by_label("API key").fill(KEY)
        base.page.keyboard.press("Enter")
        PlannerPage(base).wait()
        assert base.page.evaluate("localStorage.getItem('wayra.key')") == json.dumps(KEY)
        base.check()
        base.page.close()


def complaints(planner: PlannerPage) -> list[str]:
    return axe_complaints(planner.page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [False, True])
def test_axe_finds_nothing_in_any_state(new_planner: Callable[..., PlannerPage], scheme: str, phone: bool) -> None:
    planner = new_planner(color_scheme=scheme, reduced_motion="reduce", **(PHONE if phone else {})).open()
    assert complaints(planner) == []
    planner.scenario("research-lab")
    assert complaints(planner) == []
    planner.scenario("hipaa-on-premises")
    planner.page.evaluate("document.querySelectorAll('#form details').forEach((group) => { group.open = true; })")
    assert complaints(planner) == []
    planner.explain("Whole answer, P95")
    assert complaints(planner) == []
    planner.page.keyboard.press("Escape")
    planner.page.get_by_label("Whole answer, P95, s", exact=True).fill("0.01")
    planner.wait()
    assert planner.page.locator(".best.none").is_visible()
    assert complaints(planner) == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_screen(new_planner: Callable[..., PlannerPage], width: int) -> None:
    planner = new_planner(**{**PHONE, "viewport": {"width": width, "height": 740}}).open()
    wide = "() => [document.documentElement.scrollWidth, document.getElementById('answer').scrollWidth, innerWidth]"
    for scenario in ("startup-chatbot", "hipaa-on-premises", "research-lab"):
        planner.scenario(scenario)
        page_width, answer_width, inner = planner.page.evaluate(wide)
        assert (page_width, inner) == (width, width)
        assert answer_width <= width
    planner.page.locator("#peek").click()
    assert planner.page.evaluate("document.querySelector('.best').getBoundingClientRect().top") < 200


def test_the_keyboard_reaches_the_form_then_the_options(planner: PlannerPage) -> None:
    planner.page.keyboard.press("Tab")
    assert planner.page.evaluate("document.activeElement.textContent") == "Skip to the options"
    planner.page.keyboard.press("Enter")
    planner.page.keyboard.press("Tab")
    assert planner.page.evaluate("document.activeElement.closest('.best') !== null")


def test_what_was_planned_is_announced(planner: PlannerPage) -> None:
    announcer = planner.page.locator("#announcer")
    assert re.fullmatch(r"\d+ options\. Best: \$[\d.,]+ a month, .*", announcer.inner_text())
    assert planner.page.locator("[aria-live]").count() == 1
