"""The web page in Chromium, on a server that computes."""

from pathlib import Path

import pytest
from live_server import LiveServer

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]


def test_a_message_is_answered_kept_over_a_reload_and_never_read_as_html(smollm2_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} does not exist")
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "512") as live, sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(live.url + "/")
        page.get_by_label("Message", exact=True).fill("<b>hello</b>")
        page.keyboard.press("Enter")
        page.get_by_text("first token").wait_for()
        page.reload()
        assert page.locator("article.user .body").inner_text() == "<b>hello</b>"
        assert page.locator("article.assistant").inner_text().strip()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert problems == []
        browser.close()
