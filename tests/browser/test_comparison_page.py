"""The pages that `--html` writes of comparisons and benches: readable in both themes and on a phone; nothing runs."""

from pathlib import Path
from typing import Any

import pytest
from comparisons import comparison

from wayra.lab.bench.page import page as bench_page
from wayra.lab.compare.page import page
from wayra.lab.latency import RequestRecord
from wayra.lab.latency.record import line_of
from wayra.lab.runs import RunFacts, RunStore, summarise

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="document.title=1"></style><script>document.title = 2</script>'
THEMES = ({"color_scheme": "light"}, {"color_scheme": "dark"})
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map((node) => node.html).join(" ")}`);
}"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(page(comparison(second=HOSTILE), "20261121T000000-compare-abcdef"), "utf-8")
    return path


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    with RunStore(tmp_path / "runs").create("bench", {"mode": "traffic"}, RunFacts(HOSTILE)) as run:
        for stage in ("concurrency 1", "concurrency 2"):
            for number in range(6):
                events = [number + 0.1, number + 0.2, number + 0.4 + number / 50]
                record = RequestRecord(
                    key=f"{stage}/{number:06d}", stage=stage, status="ok", sent_s=number, ended_s=events[-1],
                    event_s=events, event_tokens=[None] * 3, prompt_tokens=4, completion_tokens=5,
                )  # fmt: skip
                run.append(line_of(record))
        run.finish()
    stored = RunStore(tmp_path / "runs").open("latest")
    path = tmp_path / "bench.html"
    path.write_text(bench_page(stored, summarise(stored)), "utf-8")
    return path


def opened(chromium: Any, path: Path, **how: Any) -> tuple[Any, list[str], list[str]]:
    """The page, what it complained of, and what it asked of anybody."""
    # axe is put into the page by the test, which the page's own policy would forbid.
    tab = chromium.new_context(bypass_csp=True, **how).new_page()
    problems: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri())
    return tab, problems, asked


@pytest.mark.parametrize("how", [*THEMES, PHONE, {**PHONE, **THEMES[1]}], ids=["light", "dark", "phone", "dark phone"])
def test_axe_finds_nothing_wrong_and_the_pages_are_as_wide_as_the_screen(
    chromium: Any, written: Path, bench: Path, how: dict[str, Any]
) -> None:
    from axe_playwright_python.base import AXE_FILE_PATH

    for path in (written, bench):
        tab, problems, asked = opened(chromium, path, **how)
        tab.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
        assert tab.evaluate(AXE) == []
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert problems == []
        assert asked == [path.as_uri()]
        tab.context.close()


def test_a_name_full_of_markup_is_text(chromium: Any, written: Path) -> None:
    tab, _, _ = opened(chromium, written)
    assert tab.locator("script, img").count() == 0
    assert HOSTILE in tab.locator("h1").inner_text()
    assert tab.title().startswith("small / <img")
    tab.context.close()


def test_themes_differ_and_plots_stand_where_their_numbers_say(chromium: Any, written: Path) -> None:
    grounds = []
    for how in THEMES:
        tab, _, _ = opened(chromium, written, **how)
        grounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        strip = tab.locator("svg.strip[role=img]").first
        box = strip.bounding_box()
        dots = strip.locator("circle").all()
        centres = [
            (dot.bounding_box()["x"] + dot.bounding_box()["width"] / 2 - box["x"]) / box["width"] for dot in dots
        ]
        assert centres == pytest.approx([0.4, 0.8], abs=0.01)
        tab.context.close()
    assert grounds[0] != grounds[1]


def test_the_menu_leads_to_every_section(chromium: Any, written: Path) -> None:
    tab, _, _ = opened(chromium, written)
    for link in tab.get_by_role("navigation").get_by_role("link").all():
        link.click()
        assert tab.locator(tab.evaluate("location.hash")).is_visible()
    tab.context.close()
