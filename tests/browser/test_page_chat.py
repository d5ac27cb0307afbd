"""Chatting in Chromium with the real model: what comes as it comes, what stops stops, what is changed is a branch."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from live_server import LiveServer, is_idle

pytestmark = pytest.mark.browser

LONG = {"ignore_eos": True, "max_tokens": 1500}


def test_words_are_shown_before_the_answer_is_over_and_figures_stand_under_it(chat: Any) -> None:
    # Long enough that it is still being written when it is looked at a second time.
    chat.change_requests(ignore_eos=True, max_tokens=900)
    chat.ask("Tell me a story.")
    busy = chat.page.locator("article.assistant[aria-busy=true] .markdown:not(:empty)")
    busy.wait_for()
    early = busy.inner_text()
    assert early.strip()
    assert chat.page.get_by_role("button", name="Stop", exact=True).is_visible()
    chat.wait_answered()
    whole = chat.answers.locator(".markdown").inner_text()
    assert len(whole) > len(early)
    figures = chat.answers.locator(".figures").inner_text()
    assert re.fullmatch(r"[\d.,]+ tok/s · first token [\d.]+ m?s · 900 tokens · cut at the limit of tokens", figures), (
        figures
    )
    assert re.fullmatch(r"\d+ of 2,048 tokens used", chat.page.locator("#context").inner_text())


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stopping_cancels_the_request_in_the_engine_and_keeps_what_came(
    chat: Any, real_server: LiveServer, how: str
) -> None:
    cancelled = real_server.metric("wayra:requests_cancelled_total")
    chat.change_requests(**LONG)
    chat.ask("Tell me a story.")
    chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
    assert real_server.metric("vllm:num_requests_running") == 1
    if how == "button":
        chat.page.get_by_role("button", name="Stop", exact=True).click()
    else:
        chat.page.keyboard.press("Escape")
    chat.wait_answered()
    assert real_server.settles(lambda: is_idle(real_server))
    assert real_server.metric("wayra:requests_cancelled_total") == cancelled + 1
    assert chat.answers.locator(".markdown").inner_text().strip()
    assert chat.answers.locator(".figures").inner_text().endswith("stopped")


def test_closing_the_page_cancels_the_request_too(chat: Any, real_server: LiveServer) -> None:
    chat.change_requests(**LONG)
    chat.ask("Tell me a story.")
    chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
    chat.check()
    chat.page.close()
    assert real_server.settles(lambda: is_idle(real_server))


def test_the_whole_conversation_is_sent_each_time(chat: Any) -> None:
    chat.answer_with("Fine.")
    chat.ask("How are you?")
    chat.wait_answered()
    chat.ask("Really?")
    chat.wait_answered()
    assert chat.sent[0]["messages"] == [{"role": "user", "content": "How are you?"}]
    assert chat.sent[1]["messages"] == [
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "Fine."},
        {"role": "user", "content": "Really?"},
    ]
    assert chat.sent[0]["stream"] is True
    assert set(chat.sent[0]) == {"model", "messages", "stream", "stream_options"}


def test_an_edited_message_is_a_branch_beside_the_old_one(chat: Any) -> None:
    chat.answer_with("About cats.")
    chat.ask("Cats?")
    chat.wait_answered()
    chat.answer_with("About dogs.")
    chat.page.get_by_role("button", name="Edit message").click()
    field = chat.page.get_by_label("Edited message")
    assert field.input_value() == "Cats?"
    field.fill("Dogs?")
    chat.page.keyboard.press("Enter")
    chat.answers.get_by_text("About dogs.").wait_for()
    chat.wait_answered()
    assert chat.sent[-1]["messages"] == [{"role": "user", "content": "Dogs?"}]
    assert chat.questions.all_inner_texts() == ["Dogs?"]
    chat.page.get_by_role("button", name="Version before").click()
    assert chat.questions.all_inner_texts() == ["Cats?"]
    assert chat.answers.locator(".markdown").all_inner_texts() == ["About cats."]
    chat.page.reload()
    chat.answers.get_by_text("About cats.").wait_for()
    chat.page.get_by_role("button", name="Version after").click()
    assert chat.answers.locator(".markdown").all_inner_texts() == ["About dogs."]


def test_an_edit_can_be_given_up(chat: Any) -> None:
    chat.answer_with("Yes.")
    chat.ask("Really?")
    chat.wait_answered()
    chat.page.get_by_role("button", name="Edit message").click()
    chat.page.get_by_label("Edited message").fill("Something else")
    chat.page.keyboard.press("Escape")
    assert chat.questions.all_inner_texts() == ["Really?"]
    assert chat.page.get_by_label("Edit message").evaluate("node => node === document.activeElement")
    assert len(chat.sent) == 1


def test_another_answer_is_a_branch_and_the_next_message_follows_the_one_shown(chat: Any) -> None:
    chat.answer_with("One.")
    chat.ask("Count.")
    chat.wait_answered()
    chat.answer_with("Two.")
    chat.page.get_by_role("button", name="Another answer").click()
    chat.answers.get_by_text("Two.").wait_for()
    chat.wait_answered()
    assert chat.sent[1]["messages"] == chat.sent[0]["messages"]
    assert chat.page.locator(".branches").inner_text().replace("\n", " ").endswith("2 / 2")
    chat.page.get_by_role("button", name="Version before").click()
    chat.ask("And?")
    chat.wait_answered()
    assert [message["content"] for message in chat.sent[2]["messages"]] == ["Count.", "One.", "And?"]


def test_an_error_is_told_in_the_servers_words_and_a_retry_takes_its_place(chat: Any) -> None:
    chat.refuse_with(429, "264 requests are under way, limit is 264; try again in 3 s")
    chat.ask("Hello")
    problem = chat.answers.get_by_role("alert")
    assert problem.locator("p").inner_text() == "264 requests are under way, limit is 264; try again in 3 s"
    chat.answer_with("Hello yourself.")
    problem.get_by_role("button", name="Try again").click()
    chat.answers.get_by_text("Hello yourself.").wait_for()
    assert chat.answers.count() == 1
    assert chat.page.locator(".branches").count() == 0


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(chat: Any) -> None:
    chat.expected.append("status of 400")
    chat.ask("word " * 3000)
    words = chat.answers.get_by_role("alert").locator("p").inner_text()
    assert "2,048" in words
    assert len(re.findall(r"\d,\d{3}", words)) >= 2


def test_an_answer_that_breaks_off_is_told_so_and_what_came_is_kept(chat: Any) -> None:
    event = 'data: {"choices":[{"index":0,"delta":{"content":"Half of it"}}]}\n\n'
    chat.answer_raw(event)
    chat.ask("Say it all.")
    assert "ended before the answer did" in chat.answers.get_by_role("alert").locator("p").inner_text()
    assert chat.answers.locator(".markdown").inner_text() == "Half of it"
    failure = 'data: {"error":{"message":"a step of the engine failed","type":"server_error"}}\n\n'
    chat.answer_raw(failure)
    chat.page.get_by_role("button", name="Another answer").click()
    chat.answers.get_by_text("a step of the engine failed").wait_for()


def test_settings_change_what_is_sent_and_are_kept(chat: Any, new_page: Callable[..., Any]) -> None:
    given = {"Temperature": "0.3", "Top-p": ".9", "Top-k": "40", "Min-p": "0.05", "Repetition penalty": "1.1"}
    given |= {"Max tokens": "7", "Seed": "42", "System prompt": "Be brief.", "Stop sequences": "END\n\\n\\n"}
    dialog = chat.open_settings()
    for label, text in given.items():
        dialog.get_by_label(label, exact=True).fill(text)
    chat.page.keyboard.press("Escape")
    expected = {"temperature": 0.3, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}
    expected |= {"max_tokens": 7, "seed": 42, "stop": ["END", "\n\n"]}
    for _ in range(2):
        chat.ask("Tell me a story.")
        chat.wait_answered()
        assert {name: value for name, value in chat.sent[-1].items() if name in expected} == expected
        assert chat.sent[-1]["messages"][0] == {"role": "system", "content": "Be brief."}
        assert re.search(r"· [1-7] tokens?\b", chat.answers.last.locator(".figures").inner_text())
        chat.open()
        chat.page.keyboard.press("Control+k")
    chat.open_settings().get_by_role("button", name="Back to defaults").click()
    chat.page.keyboard.press("Escape")
    chat.answer_with("x")
    chat.ask("Again")
    chat.wait_answered()
    assert set(chat.sent[-1]) == {"model", "messages", "stream", "stream_options"}


WRONG_SETTINGS = [
    ("Temperature", "9", "Out of range; write 0 to 5"),
    ("Temperature", "warm", "Not a number"),
    ("Temperature", "0x10", "Not a number"),
    ("Temperature", "NaN", "Not a number"),
    ("Temperature", "Infinity", "Not a number"),
    ("Top-p", "-0.1", "Out of range; write 0 to 1"),
    ("Top-k", "1.5", "Write a whole number"),
    ("Max tokens", "0", "Out of range"),
    ("Seed", "1e99", "Out of range"),
    ("Stop sequences", "\n".join("abcdefgh" * 10), "At most 64 lines"),
    ("Stop sequences", "x" * 1025, "At most 1,024 characters a line"),
]


def test_a_wrong_setting_is_said_so_and_never_sent(chat: Any) -> None:
    for label, wrong, words in WRONG_SETTINGS:
        dialog = chat.open_settings()
        field = chat.page.get_by_label(label, exact=True)
        field.fill(wrong)
        assert field.get_attribute("aria-invalid") == "true", (label, wrong)
        assert words in dialog.locator(".field", has=field).get_by_role("alert").inner_text()
        chat.page.keyboard.press("Escape")
        chat.expect(field).to_have_value("")
    chat.answer_with("x")
    chat.ask("Hello")
    chat.wait_answered()
    assert set(chat.sent[-1]) == {"model", "messages", "stream", "stream_options"}


def test_thoughts_are_folded_and_not_sent_again(chat: Any) -> None:
    chat.answer_with("<think>\nLet me ", "see.\n</th", "ink>\n\nIt is four.")
    chat.ask("2 + 2?")
    chat.wait_answered()
    assert chat.answers.locator(":scope > .body > .markdown").inner_text() == "It is four."
    assert chat.answers.locator("summary").inner_text() == "Thoughts"
    assert not chat.answers.get_by_text("Let me see.").is_visible()
    chat.ask("Sure?")
    chat.wait_answered()
    assert chat.sent[-1]["messages"][1] == {"role": "assistant", "content": "It is four."}


def test_one_conversation_goes_on_while_another_is_read(chat: Any) -> None:
    chat.change_requests(ignore_eos=True, max_tokens=100)
    chat.ask("Tell me a story.")
    chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
    chat.page.keyboard.press("Control+k")
    chat.page.get_by_role("heading", name="Ask something").wait_for()
    assert chat.page.get_by_role("button", name="Send", exact=True).is_visible()
    chat.page.get_by_role("link", name="Tell me a story.").click()
    chat.wait_answered()
    assert "100 tokens" in chat.answers.locator(".figures").inner_text()


def test_an_example_asks(chat: Any) -> None:
    chat.answer_with("Because.")
    chat.page.locator(".example").first.click()
    chat.wait_answered()
    assert chat.sent[0]["messages"][0]["content"].startswith("Explain how")


def test_enter_sends_shift_enter_begins_a_line_and_composing_does_neither(chat: Any) -> None:
    chat.answer_with("x")
    chat.prompt.press_sequentially("one")
    chat.page.keyboard.press("Shift+Enter")
    chat.prompt.press_sequentially("two")
    chat.prompt.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True, "cancelable": True})
    assert chat.sent == []
    chat.page.keyboard.press("Enter")
    chat.wait_answered()
    assert chat.sent[0]["messages"][0]["content"] == "one\ntwo"
    assert chat.prompt.input_value() == ""
    chat.prompt.fill("   ")
    chat.page.keyboard.press("Enter")
    assert chat.page.get_by_role("button", name="Send", exact=True).is_disabled()
    assert len(chat.sent) == 1


def test_who_reads_above_is_not_pulled_down(chat: Any) -> None:
    chat.page.set_viewport_size({"width": 800, "height": 400})
    chat.answer_with("\n\n".join(f"Paragraph {i}." for i in range(60)))
    chat.ask("Much, please.")
    chat.wait_answered()
    log = chat.page.locator("#log")
    assert log.evaluate("node => node.scrollHeight - node.scrollTop - node.clientHeight") < 5
    chat.change_requests(ignore_eos=True, max_tokens=900)
    chat.ask("More.")
    chat.page.locator("article.assistant[aria-busy=true] .markdown:not(:empty)").wait_for()
    log.evaluate("node => node.scrollTop = 0")
    chat.page.get_by_role("button", name="To the newest words").wait_for()
    chat.wait_answered()
    assert log.evaluate("node => node.scrollTop") == 0
    chat.page.get_by_role("button", name="To the newest words").click()
    assert log.evaluate("node => node.scrollHeight - node.scrollTop - node.clientHeight") < 5


def test_an_answer_whose_page_was_left_is_kept_and_marked(chat: Any) -> None:
    chat.change_requests(ignore_eos=True, max_tokens=1500)
    chat.ask("Tell me a story.")
    chat.page.locator("article.assistant[aria-busy=true] .markdown:not(:empty)").wait_for()
    chat.page.reload()
    chat.answers.wait_for()
    assert chat.answers.locator(".figures").inner_text() == "unfinished"
    chat.answer_with("Once upon a time.")
    chat.page.get_by_role("button", name="Another answer").click()
    chat.answers.get_by_text("Once upon a time.").wait_for()
    chat.wait_answered()
    assert "unfinished" not in chat.answers.locator(".figures").inner_text()


def test_an_answer_without_words_says_so(chat: Any) -> None:
    chat.answer_with()
    chat.ask("Say nothing.")
    chat.wait_answered()
    assert chat.answers.locator(".figures").inner_text() == "an empty answer"


def test_the_engine_is_looked_at_when_an_answer_begins(new_page: Callable[..., Any]) -> None:
    chat = new_page()
    chat.page.clock.install()
    with chat.page.expect_response("**/metrics"):
        chat.open()
    chat.page.route("**/v1/chat/completions", lambda route: None)
    chat.ask("Wait")
    # Less than the time between two looks.
    with chat.page.expect_request("**/metrics"):
        chat.page.clock.run_for(300)
    chat.page.keyboard.press("Escape")
