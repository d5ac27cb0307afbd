"""The planner's page in Chromium: what is moved is planned, every number explains itself, and all can use it."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from page_looks import PHONE, axe_complaints

pytestmark = pytest.mark.browser

KEY = "sk-page-0123456789"


class PlannerPage:
    """The page, opened and planned. page: playwright's; base: what checks complaints in the end."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.page = base.page

    def open(self, fragment: str = "") -> "PlannerPage":
        self.page.goto(f"{self.base.url}/plan{fragment}")
        return self.wait()

    def wait(self) -> "PlannerPage":
        """Until the newest workload is planned and looked at."""
        # A change waits a moment for more of them before it is sent.
        self.page.wait_for_timeout(120)
        self.page.locator("#answer[aria-busy=false] section.best").wait_for()
        self.page.locator(".closer[aria-busy=false]").wait_for()
        return self

    @property
    def price(self) -> str:
        return self.page.locator(".best .price .num").inner_text()

    @property
    def best(self) -> str:
        return self.page.locator(".best h2").inner_text()

    @property
    def tables(self) -> Any:
        """The workload as the address holds it."""
        script = "tables => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(tables), c => c.charCodeAt(0))))"
        fragment = self.page.url.partition("#")[2].replace("-", "+").replace("_", "/")
        return self.page.evaluate(script, fragment + "=" * (-len(fragment) % 4))

    def scenario(self, name: str) -> "PlannerPage":
        self.page.get_by_label("Scenario").select_option(name)
        return self.wait()

    def explain(self, name: str) -> Any:
        """The dialog that a number of the best option opens."""
        self.page.locator(".best").get_by_role("button", name=re.compile(f"^{re.escape(name)}: ")).click()
        return self.page.get_by_role("dialog", name=name)


@pytest.fixture(scope="module")
def null_server(smollm2_path: Path) -> Iterator[LiveServer]:
    """The page computes no tokens."""
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "512") as live:
        yield live


@pytest.fixture
def new_planner(new_page: Callable[..., Any], null_server: LiveServer) -> Callable[..., PlannerPage]:
    return lambda **options: PlannerPage(new_page(null_server.url, **options))


@pytest.fixture
def planner(new_planner: Callable[..., PlannerPage]) -> PlannerPage:
    return new_planner().open()


def private(planner: PlannerPage) -> PlannerPage:
    """Machines alone, so that memory and latency are seen."""
    planner.page.get_by_text("Rules", exact=True).click()
    planner.page.get_by_label("No third party").check()
    return planner.wait()


def test_moving_a_slider_plans_anew(planner: PlannerPage) -> None:
    planner.page.get_by_label("Longest request", exact=True).uncheck()
    planner.wait()
    before, tokens = planner.price, planner.page.get_by_label("Answer, tokens", exact=True)
    slider = planner.page.get_by_label("Answer, slider")
    slider.focus()
    planner.page.keyboard.press("End")
    planner.wait()
    assert tokens.input_value() == "33000"
    assert slider.get_attribute("aria-valuetext") == "33,000 tokens"
    assert planner.tables["traffic"]["output_tokens"] == 33000
    # Ten thousand dollars and more by the token is beyond the budget of 2,000 a month.
    assert planner.page.locator(".best").inner_text() != before
    tokens.fill("250")
    planner.wait()
    assert planner.price == before


def test_the_best_option_costs_what_the_command_says(planner: PlannerPage) -> None:
    from datetime import UTC, datetime

    from wayra.plan.market import Market
    from wayra.plan.planner import make_plan
    from wayra.plan.prices.table import shipped_prices
    from wayra.plan.workload import scenario

    made = make_plan(scenario("startup-chatbot"), Market(shipped_prices(), datetime.now(tz=UTC).date()))
    assert planner.best == made.options[0].label
    assert planner.price == f"${made.options[0].usd_per_month.value:.2f}"
    assert planner.page.get_by_role("heading", name=f"{len(made.options)} options meet it").is_visible()
    assert planner.page.get_by_role("heading", name=f"{len(made.rejected)} rejected").is_visible()


def test_a_number_explains_itself_down_to_its_sources(planner: PlannerPage) -> None:
    dialog = planner.explain("Cost a month")
    text = dialog.inner_text()
    # 100,000 requests of 800 and 250 tokens; the list says 0.10 and 0.40 USD.
    assert "= 100,000 ÷ 1e6 × (800 × ((1 \u2212 0) × 0.1 + 0 × 0.025) + 250 × 0.4)" in text
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
    assert "batch × kv_bytes_per_sequence" in dialog.inner_text()
    planner.page.keyboard.press("Escape")
    charts = closer.locator("figure figcaption").all_inner_texts()
    assert charts == ["Time to first token", "Time per output token", "Whole answer"]
    closer.get_by_label("by load").check()
    assert "requests a second, one machine" in closer.locator("figure svg").first.get_attribute("aria-label")
    closer.get_by_role("button", name=re.compile("^Time per output token: .* with 4 sequences at once")).click()
    dialog = planner.page.get_by_role("dialog", name="Tokens a second, one user")
    assert "4 sequences at once" in dialog.inner_text()
    planner.page.keyboard.press("Escape")
    assert closer.get_by_role("img", name=re.compile("^Cost a month over tokens a month")).is_visible()


def test_an_api_breaks_even_never_or_somewhere(planner: PlannerPage) -> None:
    card = planner.page.get_by_role("region", name="Break-even")
    assert re.search(r"Break-even: (never|from [\d,]+ Mtok)", card.inner_text())
    card.get_by_text("As a table").click()
    cells = card.locator("tbody tr").first.locator("td").all_inner_texts()
    assert len(cells) == 4
    card.get_by_role("button", name=re.compile("^Capacity of one machine: ")).click()
    dialog = planner.page.get_by_role("dialog", name="Capacity of one machine")
    assert "requests_per_s ÷ peak_factor × (input_tok + output_tok)" in dialog.inner_text()


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


def test_a_wrong_number_is_told_in_the_servers_words_and_marked(planner: PlannerPage) -> None:
    planner.base.expected.append("status of 400")
    number = planner.page.get_by_label("Prompt, tokens", exact=True)
    number.fill("")
    alert = planner.page.locator("#problem p")
    alert.wait_for()
    assert alert.inner_text() == "lacks 'input_tokens'"
    assert number.get_attribute("aria-invalid") == "true"
    number.fill("800")
    alert.wait_for(state="detached")
    planner.wait()
    assert number.get_attribute("aria-invalid") is None


def test_every_key_of_a_workload_can_be_set(planner: PlannerPage) -> None:
    page = planner.page
    for group in ("Rules", "Fine-tuning", "Routes", "Hardware already there", "Owning", "Consider only"):
        page.locator("summary", has_text=group).first.click()
    page.get_by_label("Name of the workload").fill("All of it")
    page.get_by_label("Rate as").select_option("requests_per_s")
    page.get_by_label("Prompt in a cache", exact=True).check()
    page.get_by_label("First token, P95", exact=True).check()
    page.get_by_label("On premises").check()
    page.get_by_label("Where data must stay").fill("EU")
    page.get_by_label("Only open weights").check()
    page.get_by_label("The model is fine-tuned").check()
    page.get_by_role("button", name="Route", exact=True).click()
    page.get_by_role("button", name="Hardware", exact=True).click()
    page.get_by_label("Years of use").fill("4")
    page.get_by_text("Models").last.click()
    page.get_by_label("Llama 3.3 70B Instruct").check()
    planner.wait()
    tables = planner.tables
    assert tables["name"] == "All of it"
    assert set(tables["traffic"]) == {"input_tokens", "output_tokens", "requests_per_s", "peak_factor", "cached_share"}
    assert tables["limits"] == {"latency_p95_s": 10, "context": 8192, "ttft_p95_s": 1.5}
    assert tables["rules"] == {"privacy": "on-premises", "region": "EU", "open_weights": True}
    assert tables["quality"] == {"mmlu": 80}
    assert set(tables["budget"]) == {"usd_per_month", "upfront_usd"}
    assert set(tables["fine_tuning"]) == {"examples", "tokens_per_example", "runs_per_year"}
    assert [route["share"] for route in tables["route"]] == [0.8, 0.2]
    assert list(tables["have"].values()) == [1]
    assert tables["owning"] == {"years": 4}
    assert tables["choice"] == {"models": ["llama-3.3-70b"]}


def test_the_downloaded_file_and_the_link_hold_the_same_workload(
    planner: PlannerPage, new_planner: Callable[..., PlannerPage]
) -> None:
    from wayra.plan.workload import workload_of

    planner.scenario("research-lab")
    with planner.page.expect_download() as caught:
        planner.page.get_by_role("button", name="Download the workload file").click()
    assert caught.value.suggested_filename == "research-lab.toml"
    tables = tomllib.loads(Path(caught.value.path()).read_text("utf-8"))
    assert tables == planner.tables
    assert len(workload_of(tables, "file").routes) == 2
    other = new_planner().open("#" + planner.page.url.partition("#")[2])
    assert (other.price, other.best) == (planner.price, planner.best)
    assert other.page.get_by_label("Name of route 2").input_value() == "hardest"


def test_a_link_that_is_none_begins_with_the_first_scenario(new_planner: Callable[..., PlannerPage]) -> None:
    planner = new_planner().open("#<img src=x onerror=hit()>")
    assert planner.tables["name"] == "Start-up chatbot"


def test_nothing_in_a_workload_acts(new_planner: Callable[..., PlannerPage]) -> None:
    import base64

    attack = "<img src=x onerror=hit()>"
    tables = {
        "name": attack, "traffic": {"input_tokens": 8, "output_tokens": 8, "requests_per_s": 1},
        "route": [{"name": attack, "share": 1, "quality": {}}],
    }  # fmt: skip
    fragment = base64.urlsafe_b64encode(json.dumps(tables).encode()).decode().rstrip("=")
    planner = new_planner().open(f"#{fragment}")
    assert planner.page.locator("img").count() == 0
    assert f"Hybrid ({attack}" in planner.page.locator("#answer").inner_text()


def test_while_a_slider_moves_only_one_question_is_on_its_way(planner: PlannerPage) -> None:
    at_once, most = [0], [0]

    def began(request: Any) -> None:
        if request.url.endswith("/plan/weigh"):
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])

    def ended(request: Any) -> None:
        at_once[0] -= request.url.endswith("/plan/weigh")

    planner.page.on("request", began)
    planner.page.on("requestfinished", ended)
    slider = planner.page.get_by_label("Prompt, slider")
    slider.focus()
    for _ in range(40):
        planner.page.keyboard.press("ArrowRight")
        planner.page.wait_for_timeout(10)
    planner.wait()
    assert most[0] == 1
    assert planner.page.get_by_label("Prompt, tokens", exact=True).input_value() == str(
        planner.tables["traffic"]["input_tokens"]
    )


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
