"""The page and its server: keys asked for, models chosen, what the engine does, a server that goes and comes back."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer

pytestmark = pytest.mark.browser

KEY = "sk-page-0123456789"


def test_a_server_with_keys_lets_the_page_in_and_the_page_asks_for_one(
    new_page: Callable[..., Any], smollm2_path: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{KEY}\n")
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "512", "--api-key-file", str(keys)) as live:
        chat = new_page(live.url)
        chat.expected.append("status of 401")
        chat.page.goto(live.url)
        dialog = chat.page.get_by_role("dialog", name="This server needs an API key")
        assert "API key is missing or wrong" in dialog.inner_text()
        field = dialog.get_by_label("API key")
        field.fill("not a key")
        dialog.get_by_role("button", name="Use this key").click()
        assert "no spaces" in dialog.get_by_role("alert").inner_text()
        dialog.get_by_role("button", name="Not now").click()
        chat.ask("Hello")
        dialog.wait_for()
        field.fill("sk-wrong-0123456789")
        with chat.page.expect_response("**/v1/models"):
            chat.page.keyboard.press("Enter")
        dialog.wait_for()
        field.fill(KEY)
        chat.page.keyboard.press("Enter")
        # The message that was refused is answered now.
        chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
        chat.wait_answered()
        assert chat.answers.count() == 1
        chat.page.reload()
        chat.page.locator("#model option").first.wait_for(state="attached")
        assert not dialog.is_visible()
        chat.page.keyboard.press("Control+k")
        chat.ask("Hello again")
        chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
        chat.wait_answered()
        assert chat.page.locator("#notices").inner_text() == ""
        # The key is where only this origin's pages can read it, and in no conversation.
        assert chat.page.evaluate("localStorage.getItem('wayra.key')") == json.dumps(KEY)
        dialog = chat.open_settings()
        assert dialog.get_by_label("API key").get_attribute("type") == "password"
        assert KEY not in live.log()
        chat.check()
        chat.page.close()


def test_an_answer_refused_for_its_key_comes_when_the_key_is_given(chat: Any) -> None:
    chat.refuse_with(401, "the API key is missing or wrong")
    chat.ask("Hello")
    dialog = chat.page.get_by_role("dialog", name="This server needs an API key")
    dialog.wait_for()
    chat.answer_with("Welcome.")
    dialog.get_by_label("API key").fill(KEY)
    chat.page.keyboard.press("Enter")
    chat.answers.get_by_text("Welcome.").wait_for()
    assert chat.answers.count() == 1


def test_the_chosen_model_is_sent_and_kept(new_page: Callable[..., Any]) -> None:
    cards = [{"id": name, "root": name, "max_model_len": 512} for name in ("one", "<b>two</b>", "/models/three.gguf")]
    cards.append({"id": "another name of one", "root": "one", "max_model_len": 512})
    chat = new_page()
    chat.page.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": cards}))
    chat.open()
    select = chat.page.get_by_label("Model", exact=True)
    assert select.locator("option").all_inner_texts() == ["one", "<b>two</b>", "three"]
    select.select_option("/models/three.gguf")
    chat.answer_with("x")
    chat.page.reload()
    chat.page.locator("#model option").first.wait_for(state="attached")
    chat.ask("Hello")
    chat.wait_answered()
    assert chat.sent[-1]["model"] == "/models/three.gguf"
    assert chat.answers.locator(".who").inner_text() == "three"


def test_the_engine_is_watched_and_left_alone_while_nobody_looks(chat: Any, real_server: LiveServer) -> None:
    asked: list[str] = []
    chat.page.on("request", lambda request: request.url.endswith("/metrics") and asked.append(request.url))
    engine = chat.page.get_by_role("region", name="Engine")
    chat.change_requests(ignore_eos=True, max_tokens=1500)
    chat.ask("Tell me a story.")
    chat.expect(engine.locator(".state")).to_have_text("busy")
    chat.expect(engine.locator(".rate strong")).not_to_have_text("0.0")
    assert engine.locator("div", has_text="Running").locator("dd").inner_text() == "1"
    assert engine.locator("div", has_text="KV cache").locator("dd").inner_text() not in ("–", "0 %")
    chat.page.keyboard.press("Escape")
    chat.expect(engine.locator(".state")).to_have_text("idle")
    hide = "value => { Object.defineProperty(document, 'hidden', {value, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    chat.page.evaluate(hide, True)
    seen = len(asked)
    chat.page.wait_for_timeout(5000)
    assert len(asked) == seen
    chat.page.evaluate(hide, False)
    chat.page.wait_for_timeout(300)
    assert len(asked) == seen + 1


def test_a_server_that_goes_is_missed_and_found_again(
    new_page: Callable[..., Any], smollm2_path: Path, tmp_path: Path
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    # The later of two --port counts.
    args = (str(smollm2_path), "--backend", "null", "--context", "512", "--port", str(port))
    with LiveServer(*args) as live:
        chat = new_page(live.url).open()
        chat.expected += ["Failed to load resource", "ERR_"]
        live.stop()
        chat.ask("Are you there?")
        problem = chat.answers.get_by_role("alert")
        assert "does not answer" in problem.locator("p").inner_text()
        notice = chat.page.locator("#notice-server")
        notice.wait_for()
        assert "Trying again every" in notice.inner_text()
        assert chat.page.locator("#engine .state").inner_text() == "offline"
    with LiveServer(*args):
        notice.get_by_role("button", name="Now").click()
        notice.wait_for(state="detached")
        problem.get_by_role("button", name="Try again").click()
        chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
        chat.wait_answered()
        assert chat.answers.count() == 1
        chat.check()
        chat.page.close()


def test_a_server_that_drains_says_so(new_page: Callable[..., Any], smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--context", "2048", "--drain-timeout", "2") as live:
        chat = new_page(live.url).open()
        chat.expected += ["Failed to load resource", "ERR_", "status of 503"]
        chat.change_requests(ignore_eos=True, max_tokens=1500)
        chat.ask("Tell me a story.")
        chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
        assert live.stop() == 0
        words = chat.answers.get_by_role("alert").locator("p").inner_text()
        assert words
        assert chat.answers.locator(".markdown").inner_text().strip()
        chat.check()
        chat.page.close()
