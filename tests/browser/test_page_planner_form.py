"""The form of the planner's page in Chromium: every key has a field, and what is wrong is told beside it."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_looks import PHONE
from planner_page import PlannerPage, fragment_of

pytestmark = pytest.mark.browser


def test_moving_a_slider_plans_anew(planner: PlannerPage) -> None:
    planner.page.get_by_label("Longest request", exact=True).uncheck()
    planner.wait()
    before, tokens = planner.price, planner.page.get_by_label("Answer, tokens", exact=True)
    slider = planner.page.get_by_label("Answer, slider")
    slider.focus()
    planner.page.keyboard.press("End")
    planner.wait()
    assert tokens.input_value() == "32768"
    assert slider.get_attribute("aria-valuetext") == "32,768 tokens"
    assert planner.tables["traffic"]["output_tokens"] == 32768
    # Ten thousand dollars and more by the token is beyond the budget of 2,000 a month.
    assert planner.page.locator(".best").inner_text() != before
    tokens.fill("250")
    planner.wait()
    assert planner.price == before


def complaint(planner: PlannerPage, number: Any) -> str:
    """What is said beside a field."""
    return planner.page.locator(f"[id='{number.get_attribute('aria-describedby')}']").inner_text()


def test_a_wrong_number_is_told_beside_its_field_and_in_sight(planner: PlannerPage) -> None:
    asked: list[str] = []
    planner.page.on("request", lambda request: asked.append(request.url))
    number = planner.page.get_by_label("Prompt, tokens", exact=True)
    words = "Prompt is -3: write a number from 0 to 100,000,000 tokens."
    planner.page.mouse.move(900, 500)
    planner.page.mouse.wheel(0, 1500)
    number.fill("-3")
    assert complaint(planner, number) == words
    assert number.get_attribute("aria-invalid") == "true"
    planner.base.expect(number).to_have_css("border-top-color", "rgb(179, 38, 30)")
    banner = planner.page.locator("#problem")
    assert banner.locator("p").inner_text() == f"{words} The plan shown is of the numbers before."
    box = banner.bounding_box()
    assert 0 < box["y"] < 200
    planner.page.locator("#form").evaluate("node => { node.scrollTop = node.scrollHeight; }")
    banner.get_by_role("button", name="Go to the field").click()
    assert number.evaluate("node => node === document.activeElement")
    assert 0 < number.bounding_box()["y"] < 700
    assert asked == []
    assert planner.tables["traffic"]["input_tokens"] == 800
    number.fill("900")
    planner.wait()
    assert number.get_attribute("aria-invalid") is None
    assert (complaint(planner, number), banner.inner_text()) == ("", "")
    assert planner.page.locator("#answer.old").count() == 0


WRONG_NUMBERS = [
    ("Prompt, tokens", "", "Prompt is empty: write a number from 0 to"),
    ("Prompt, tokens", "1e99", "Prompt is 1e99: write a number from 0 to"),
    ("Rate", "0", "Rate is 0: write a number above 0, at most 10,000,000,000,000."),
    ("Peak over mean, ×", "0.5", "Peak over mean is 0.5: write a number from 1 to 10,000 ×."),
    ("Whole answer, P95, s", "0", "Whole answer, P95 is 0: write a number from 0.001 to 86,400 s."),
    ("Longest request, tokens", "8192.5", "Longest request is 8192.5: write a whole number from 1 to"),
    ("Benchmark: MMLU", "101", "MMLU is 101: write a number from 0 to 100."),
    ("Years of use", "0", "Years of use is 0: write a number from 0.08334 to 30."),
]


def test_every_wrong_number_names_its_field_and_its_range(planner: PlannerPage) -> None:
    planner.page.locator("summary", has_text="Owning").click()
    for label, wrong, words in WRONG_NUMBERS:
        number = planner.page.get_by_label(label, exact=True)
        before = number.input_value()
        number.fill(wrong)
        assert complaint(planner, number).startswith(words), (label, wrong)
        assert number.is_visible()
        number.fill(before)
        planner.wait()
        assert number.get_attribute("aria-invalid") is None, label


def test_what_the_server_refuses_is_told_at_its_field(planner: PlannerPage) -> None:
    planner.base.expected.append("status of 400")
    planner.page.get_by_label("Prompt, tokens", exact=True).fill("9000")
    context = planner.page.get_by_label("Longest request, tokens", exact=True)
    planner.base.expect(context).to_have_attribute("aria-invalid", "true")
    words = "Longest request: a context of 8,192 tokens is shorter than an average request of 9,250;"
    assert complaint(planner, context).startswith(words)
    assert planner.page.locator("#problem p").inner_text().startswith(words)
    context.fill("16384")
    planner.wait()
    assert context.get_attribute("aria-invalid") is None


def test_a_link_with_a_wrong_number_leads_to_its_field(new_planner: Callable[..., PlannerPage]) -> None:
    tables = {
        "traffic": {"input_tokens": 8, "output_tokens": 8, "requests_per_s": 1},
        "owning": {"years": "long"},
    }
    planner = new_planner()
    planner.base.expected.append("status of 400")
    planner.page.goto(f"{planner.base.url}/plan#{fragment_of(tables)}")
    years = planner.page.get_by_label("Years of use", exact=True)
    planner.base.expect(years).to_be_focused()
    assert complaint(planner, years) == "Years of use: 'years' is 'long'; expected a number"


def test_a_limit_that_is_written_anew_stays_a_limit(planner: PlannerPage) -> None:
    limit = planner.page.get_by_label("Whole answer, P95, s", exact=True)
    limit.fill("")
    limit.press_sequentially("25")
    planner.wait()
    assert planner.tables["limits"]["latency_p95_s"] == 25
    assert limit.is_visible()


def test_every_press_of_an_arrow_moves_a_slider_on(planner: PlannerPage) -> None:
    # The longest request passes below the average one.
    planner.base.expected.append("status of 400")
    for label in ("Prompt", "Longest request", "A month"):
        slider = planner.page.get_by_label(f"{label}, slider")
        number = slider.locator("xpath=ancestor::*[contains(@class, 'slider')]").locator("input[type=number]")
        slider.focus()
        planner.page.keyboard.press("Home")
        last = int(slider.get_attribute("max"))
        seen = [float(number.input_value())]
        for _ in range(last):
            planner.page.keyboard.press("ArrowRight")
            seen.append(float(number.input_value()))
        assert last >= 40
        assert seen == sorted(set(seen)), label
        planner.page.keyboard.press("ArrowLeft")
        assert float(number.input_value()) == seen[-2]
        assert all(value == float(f"{value:.2g}") for value in seen[1:-1] if label != "Longest request")


def test_a_phone_shows_one_group_and_a_line_for_each_other(new_planner: Callable[..., PlannerPage]) -> None:
    planner = new_planner(**PHONE).open().scenario("hipaa-on-premises")
    groups = planner.page.locator("#form details.group")
    opened = groups.evaluate_all(
        "nodes => nodes.filter((node) => node.open).map((node) => node.innerText.split('\\n')[0])"
    )
    assert opened == ["Traffic"]
    lines = dict(text.split("\n") for text in groups.all_inner_texts() if text.count("\n") == 1)
    assert lines["Limits"] == "answer 30 s, 32,768 tokens"
    assert lines["Quality"] == "MMLU 80"
    assert lines["Rules"] == "on premises, open weights"
    assert lines["Budget"] == "$416,667 a month, $500,000 once"
    cards = planner.page.locator("#answer details").evaluate_all("nodes => nodes.map((node) => node.open)")
    assert True in cards
    assert False in cards
    latency = planner.page.get_by_role("region", name="Latency")
    latency.locator("summary").first.click()
    latency.locator("figure svg").first.wait_for()  # it is drawn after it is unfolded
    number = planner.page.get_by_label("Prompt, tokens", exact=True)
    number.fill("2500")
    planner.wait()
    # What was unfolded stays so.
    latency.locator("figure svg").first.wait_for()


def test_a_wrong_number_is_told_at_the_foot_of_a_phone(new_planner: Callable[..., PlannerPage]) -> None:
    planner = new_planner(**PHONE).open()
    number = planner.page.get_by_label("Prompt, tokens", exact=True)
    number.fill("")
    planner.page.locator("#answer .best").scroll_into_view_if_needed()
    peek = planner.page.locator("#peek")
    assert peek.inner_text().startswith("Prompt is empty: write a number from 0")
    peek.click()
    assert number.evaluate("node => node === document.activeElement")


def test_the_address_holds_the_workload_wherever_one_goes(planner: PlannerPage) -> None:
    planner.page.locator("a.skip").focus()
    planner.page.keyboard.press("Enter")
    assert planner.tables["name"] == "Start-up chatbot"


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
    page.locator(".choices summary", has_text="Models").click()
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
    attack = "<img src=x onerror=hit()>"
    tables = {
        "name": attack, "traffic": {"input_tokens": 8, "output_tokens": 8, "requests_per_s": 1},
        "route": [{"name": attack, "share": 1, "quality": {}}],
    }  # fmt: skip
    planner = new_planner().open(f"#{fragment_of(tables)}")
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

    planner.page.get_by_label("Longest request", exact=True).uncheck()
    planner.wait()
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


def test_how_a_model_is_trained_is_chosen_and_counts(planner: PlannerPage) -> None:
    private = {"rules": {"privacy": "no-third-party"}, "fine_tuning": {"examples": 20000, "tokens_per_example": 1024}}
    planner.page.goto(f"{planner.base.url}/plan#{fragment_of({**planner.tables, **private})}")
    planner.wait()
    before = planner.page.locator(".best .facts > div", has_text="One training run").locator(".num").inner_text()
    planner.page.get_by_label("Method of training").select_option("lora")
    planner.page.get_by_label("Passes over the examples").fill("3")
    planner.wait()
    assert planner.tables["fine_tuning"] == {**private["fine_tuning"], "method": "lora", "epochs": 3}
    assert (
        planner.page.locator(".best .facts > div", has_text="One training run").locator(".num").inner_text() != before
    )
    planner.page.get_by_label("Method of training").select_option("cheapest")
    planner.wait()
    assert "method" not in planner.tables["fine_tuning"]
