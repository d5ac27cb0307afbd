"""Conversations in the browser: kept over a reload, found, renamed, deleted, carried away and brought back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def titles(chat: Any) -> list[str]:
    found: list[str] = chat.page.locator("#list .name").all_inner_texts()
    return found


def converse(chat: Any, question: str, answer: str) -> None:
    """A conversation of its own."""
    chat.page.keyboard.press("Control+k")
    chat.answer_with(answer)
    chat.ask(question)
    chat.answers.get_by_text(answer).wait_for()
    chat.wait_answered()


def exported(chat: Any, button: str) -> Any:
    """What a button of the settings gives to download."""
    dialog = chat.open_settings()
    with chat.page.expect_download() as download:
        dialog.get_by_role("button", name=button, exact=True).click()
    chat.page.keyboard.press("Escape")
    return json.loads(Path(download.value.path()).read_text(encoding="utf-8"))


def bring(chat: Any, content: object) -> str:
    """Import a file; what the page says of it."""
    text = content if isinstance(content, str) else json.dumps(content)
    chat.page.evaluate("document.getElementById('toast').hidden = true")
    chat.open_settings()
    chat.page.locator("#import").set_input_files({"name": "a.json", "mimeType": "", "buffer": text.encode()})
    chat.page.locator("#toast:not([hidden])").wait_for()
    words: str = chat.page.locator("#toast").inner_text()
    return words


def test_a_reload_shows_the_same_conversation_and_the_same_list(chat: Any) -> None:
    converse(chat, "First?", "One.")
    converse(chat, "<b>Second</b>?", "Two.")
    chat.page.reload()
    chat.answers.get_by_text("Two.").wait_for()
    assert chat.questions.all_inner_texts() == ["<b>Second</b>?"]
    assert titles(chat) == ["<b>Second</b>?", "First?"]
    assert "2 tokens" not in chat.answers.locator(".figures").inner_text()
    assert "1 token" in chat.answers.locator(".figures").inner_text()
    chat.page.go_back()
    chat.page.get_by_role("heading", name="Ask something").wait_for()
    chat.page.get_by_role("link", name="First?").click()
    chat.answers.get_by_text("One.").wait_for()


def test_what_came_before_a_crash_is_kept(chat: Any) -> None:
    chat.change_requests(ignore_eos=True, max_tokens=1500)
    chat.ask("Tell me a story.")
    chat.page.locator("article.assistant .markdown:not(:empty)").wait_for()
    chat.page.wait_for_timeout(3500)
    chat.page.goto("about:blank")
    chat.open("/")
    chat.page.get_by_role("link", name="Tell me a story.").click()
    assert chat.answers.locator(".markdown").inner_text().strip()


def test_a_conversation_is_renamed_and_its_name_given_up(chat: Any) -> None:
    converse(chat, "What is it?", "This.")
    for text, key, expected in (
        ("My talk", "Enter", "My talk"),
        ("Other", "Escape", "My talk"),
        ("", "Enter", "My talk"),
    ):
        chat.page.locator("#list li").hover()
        chat.page.get_by_role("button", name="Rename").click()
        chat.page.get_by_label("Name of the conversation").fill(text)
        chat.page.keyboard.press(key)
        assert titles(chat) == [expected]
    chat.page.reload()
    chat.page.get_by_role("link", name="My talk").wait_for()
    assert chat.page.title() == "My talk · wayra"


def test_a_deleted_conversation_is_gone_unless_that_is_undone(chat: Any) -> None:
    converse(chat, "Keep me", "Yes.")
    converse(chat, "Delete me", "No.")
    for undone in (True, False):
        chat.page.get_by_role("link", name="Delete me").hover()
        chat.page.get_by_role("button", name="Delete Delete me").click()
        assert titles(chat) == ["Keep me"]
        chat.page.get_by_role("heading", name="Ask something").wait_for()
        if undone:
            chat.page.get_by_role("button", name="Undo").click()
            chat.answers.get_by_text("No.").wait_for()
            assert titles(chat) == ["Delete me", "Keep me"]
    chat.page.reload()
    chat.page.get_by_role("link", name="Keep me").wait_for()
    assert titles(chat) == ["Keep me"]


def test_all_are_deleted_after_a_second_question(chat: Any) -> None:
    converse(chat, "One", "Uno.")
    dialog = chat.open_settings()
    dialog.get_by_role("button", name="Delete all…").click()
    dialog.get_by_role("button", name="Keep them").click()
    assert titles(chat) == ["One"]
    dialog.get_by_role("button", name="Delete all…").click()
    dialog.get_by_role("button", name="Delete all", exact=True).click()
    chat.page.get_by_text("No conversations yet.").wait_for()
    chat.page.reload()
    chat.page.get_by_text("No conversations yet.").wait_for()


def test_words_are_found_in_titles_and_messages(chat: Any) -> None:
    converse(chat, "About rivers", "The Nile is long.")
    converse(chat, "About hills", "They are high.")
    search = chat.page.get_by_label("Search conversations")
    for wanted, found in (
        ("rivers", ["About rivers"]),
        ("NILE", ["About rivers"]),
        ("about", ["About hills", "About rivers"]),
    ):
        search.fill(wanted)
        assert titles(chat) == found
    search.fill("nile")
    assert chat.page.locator("#list small").inner_text() == "The Nile is long."
    search.fill("nothing of it")
    assert chat.page.locator("#list").inner_text() == "Nothing found."


def test_what_is_exported_comes_back_elsewhere_with_its_branches(chat: Any, new_page: Callable[..., Any]) -> None:
    converse(chat, "Cats?", "They purr.")
    chat.answer_with("They sleep.")
    chat.page.get_by_role("button", name="Another answer").click()
    chat.answers.get_by_text("They sleep.").wait_for()
    chat.wait_answered()
    converse(chat, "Dogs?", "They bark.")
    everything, one = exported(chat, "Export all"), exported(chat, "Export this one")
    assert [conversation["title"] for conversation in everything["conversations"]] == ["Dogs?", "Cats?"]
    assert [conversation["title"] for conversation in one["conversations"]] == ["Dogs?"]
    other = new_page().open()
    assert bring(other, everything) == "2 conversations imported."
    assert titles(other) == ["Dogs?", "Cats?"]
    other.page.get_by_role("link", name="Cats?").click()
    assert other.answers.locator(".markdown").inner_text() == "They sleep."
    other.page.get_by_role("button", name="Version before").click()
    assert other.answers.locator(".markdown").inner_text() == "They purr."
    assert bring(other, one) == "All of them were here already."
    changed = json.loads(json.dumps(one))
    changed["conversations"][0]["title"] = "Wolves?"
    assert bring(other, changed) == "1 conversation imported."
    assert sorted(titles(other)) == ["Cats?", "Dogs?", "Wolves?"]


def node(**changes: Any) -> dict[str, Any]:
    return {"id": "b1", "parent": "", "role": "user", "content": "x", "created": 1, **changes}


def imported(*nodes: Any, **changes: Any) -> dict[str, Any]:
    conversation = {"id": "a1", "title": "t", "nodes": list(nodes), "chosen": {}, "created": 1, "updated": 1, **changes}
    return {"format": "wayra-conversations", "version": 1, "conversations": [conversation]}


BAD_FILES = [
    ("not json", "not JSON"),
    ("[]", "holds no conversations"),
    ({"format": "wayra-conversations", "version": 9, "conversations": []}, "version 9"),
    (imported(node(role="system")), "message 1"),
    (imported(node(content=5)), "message 1"),
    (imported(node(), node()), "message 2"),
    (imported(node(parent="nowhere")), "message 1"),
    (imported(node(id="<b>")), "message 1"),
    (imported(node(id="b1", parent="b1")), "message 1"),
    (imported(node(), id="__proto__"), "its id is none"),
    ({"format": "wayra-conversations", "version": 1, "conversations": [None]}, "conversation 1"),
    ("[" * 100_000, "not JSON"),
]


def test_a_bad_file_is_refused_in_a_sentence_and_changes_nothing(chat: Any) -> None:
    for content, words in BAD_FILES:
        assert words in bring(chat, content), content
        assert titles(chat) == []
    odd = imported(node(stats={"rate": "fast", "tokens": 3}, surplus="<img src=x onerror=hit()>"), chosen={"": "zz"})
    assert bring(chat, odd) == "1 conversation imported."
    kept = exported(chat, "Export all")["conversations"][0]
    assert kept["chosen"] == {}
    assert kept["nodes"] == [{**node(), "stats": {"tokens": 3}}]


def test_a_full_browser_is_told_and_the_conversation_stays_on_the_screen(chat: Any) -> None:
    session = chat.page.context.new_cdp_session(chat.page)
    session.send("Storage.overrideQuotaForOrigin", {"origin": chat.url, "quotaSize": 1000})
    chat.answer_with("x" * 200_000)
    chat.ask("Much.")
    notice = chat.page.locator("#notice-store")
    notice.wait_for()
    assert "no room left" in notice.inner_text()
    chat.wait_answered()
    assert len(chat.answers.locator(".markdown").inner_text()) == 200_000
    assert len(exported(chat, "Export this one")["conversations"][0]["nodes"][1]["content"]) == 200_000
    session.send("Storage.overrideQuotaForOrigin", {"origin": chat.url})
    chat.answer_with("y")
    chat.ask("More.")
    notice.wait_for(state="detached")


def test_without_a_database_it_works_and_says_that_nothing_is_kept(new_page: Callable[..., Any]) -> None:
    chat = new_page()
    chat.page.add_init_script(
        "delete Window.prototype.indexedDB; delete window.indexedDB; Storage.prototype.setItem = () => { throw 1; };"
    )
    chat.open()
    assert "keeps nothing" in chat.page.locator("#notice-store").inner_text()
    chat.answer_with("Still here.")
    chat.ask("Hello?")
    chat.answers.get_by_text("Still here.").wait_for()


def test_two_tabs_show_the_same_conversations(chat: Any, new_page: Callable[..., Any]) -> None:
    other = new_page(beside=chat).open()
    converse(chat, "From the first", "Yes.")
    other.page.get_by_role("link", name="From the first").click()
    other.answers.get_by_text("Yes.").wait_for()
    other.page.locator("#list li").hover()
    other.page.get_by_role("button", name="Delete From the first").click()
    chat.page.get_by_text("No conversations yet.").wait_for()
    chat.page.get_by_role("heading", name="Ask something").wait_for()
