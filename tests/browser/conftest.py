"""Chromium, a server that computes, and pages that note everything a page must not do."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from live_server import LiveServer
from planner_page import PlannerPage

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update")
CHAT = "**/v1/chat/completions"
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  violations.push(event.violatedDirective + " " + event.blockedURI);
});
// What an attack that succeeds calls.
window.hit = () => { violations.push("hit"); };
"""


def sse(pieces: Sequence[str], finish: str = "stop", tokens: int | None = None) -> str:
    """A streamed answer as the server writes it."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
    chunks += [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    usage = {"prompt_tokens": 11, "completion_tokens": len(pieces) if tokens is None else tokens}
    chunks.append({"choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 3}}})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


class ChatPage:
    """The page, opened. `page` is playwright's. problems: what the console and the policy complained of, so far.

    expected: parts of complaints that belong to what the test does, as failed requests do.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        self.expected: list[str] = []
        self.strangers: list[str] = []
        self.sent: list[dict[str, Any]] = []
        page.add_init_script(WATCH)
        page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if urlsplit(request.url).scheme in ("http", "https") and not request.url.startswith(self.url):
            self.strangers.append(request.url)
        if request.url.endswith("/v1/chat/completions"):
            self.sent.append(json.loads(request.post_data))

    def open(self, path: str = "/") -> "ChatPage":
        """Go there and wait until the models are known."""
        self.page.goto(self.url + path)
        self.page.locator("#model option").first.wait_for(state="attached")
        return self

    def expect(self, locator: Any) -> Any:
        """Playwright's assertions, which wait a while."""
        from playwright.sync_api import expect

        expect.set_options(timeout=60_000)
        return expect(locator)

    @property
    def prompt(self) -> Any:
        return self.page.get_by_label("Message", exact=True)

    @property
    def answers(self) -> Any:
        return self.page.locator("article.assistant")

    @property
    def questions(self) -> Any:
        return self.page.locator("article.user .body")

    def ask(self, text: str) -> None:
        self.prompt.fill(text)
        if text.strip():
            self.page.get_by_role("button", name="Send", exact=True).click()

    def wait_answered(self) -> None:
        self.page.locator("article.assistant[aria-busy=false]").last.wait_for()
        self.page.get_by_role("button", name="Send", exact=True).wait_for()

    def answer_with(self, *pieces: str, **kwargs: Any) -> None:
        """From now on the server's answers are these."""
        self.answer_raw(sse(pieces, **kwargs))

    def answer_raw(self, body: str) -> None:
        """From now on the server's answers are these bytes."""
        self.page.unroute(CHAT)
        headers = {"content-type": "text/event-stream"}
        self.page.route(CHAT, lambda route: route.fulfill(status=200, headers=headers, body=body))

    def refuse_with(self, status: int, message: str) -> None:
        """From now on the server refuses with these words."""
        self.page.unroute(CHAT)
        body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": None}})
        headers = {"content-type": "application/json"}
        self.page.route(CHAT, lambda route: route.fulfill(status=status, headers=headers, body=body))
        self.expected.append(f"status of {status}")

    def change_requests(self, **fields: Any) -> None:
        """From now on requests reach the server with these fields beside what the page sends."""
        self.page.unroute(CHAT)
        self.page.route(
            CHAT, lambda route: route.continue_(post_data=json.dumps({**json.loads(route.request.post_data), **fields}))
        )

    def open_settings(self) -> Any:
        """The dialog."""
        self.page.get_by_role("button", name="Settings").click()
        return self.page.get_by_role("dialog", name="Settings")

    def check(self) -> None:
        """Nothing complained, nothing was asked of others."""
        if not self.page.is_closed() and self.page.url.startswith(self.url):
            self.problems += self.page.evaluate("window.violations ?? []")
        assert [text for text in self.problems if not any(part in text for part in self.expected)] == []
        assert self.strangers == []


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser: one of the system, or playwright's own. Skips where there is none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        path = next((found for name in CHROMIUMS if (found := shutil.which(name))), play.chromium.executable_path)
        if not Path(path).exists():
            pytest.skip("there is no Chromium here")
        browser = play.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def real_server(smollm2_path: Path) -> Iterator[LiveServer]:
    """The real model on the native backend."""
    with LiveServer(str(smollm2_path), "--context", "2048") as live:
        yield live


@pytest.fixture
def new_page(chromium: Any, real_server: LiveServer) -> Iterator[Callable[..., ChatPage]]:
    """Makes pages, each in a fresh profile unless `beside` names another; all are checked in the end."""
    made: list[ChatPage] = []
    contexts: list[Any] = []

    def make(url: str = real_server.url, beside: ChatPage | None = None, **options: Any) -> ChatPage:
        if beside is None:
            contexts.append(chromium.new_context(**{"viewport": {"width": 1200, "height": 800}, **options}))
            contexts[-1].set_default_timeout(60_000)
        page = (contexts[-1] if beside is None else beside.page.context).new_page()
        made.append(ChatPage(page, url))
        return made[-1]

    yield make
    for one in made:
        one.check()
    for context in contexts:
        context.close()


@pytest.fixture
def chat(new_page: Callable[..., ChatPage]) -> ChatPage:
    """The page, opened on the real server."""
    return new_page().open()


@pytest.fixture(scope="session")
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
