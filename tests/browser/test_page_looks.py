"""How the page can be used: by keyboard, by ear, in the dark, on a phone."""

from collections.abc import Callable
from typing import Any

import pytest
from page_looks import PHONE, axe_complaints

pytestmark = pytest.mark.browser

RICH = (
    """# Heading

Some **bold** words, `code`, a [link](https://example.org/), https://example.org/a-very-long-address/that/goes/on/and/on/and/on.

| A table | with | many | columns | that | is | wider | than | a | phone |
|---|---|---|---|---|---|---|---|---|---|
| longwordlongword | longwordlongword | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |

```python
def f(x: int) -> str:  # a comment that is much longer than any phone is wide, so that it has to be scrolled
    return "text" + str(42)
```

- [x] done

> quoted

averylongwordwithoutanyspace"""
    + "o" * 200
)


def fill(chat: Any) -> None:
    """A conversation with everything in it: branches, an answer with all kinds of text, an error."""
    chat.answer_with(RICH)
    chat.ask("A question, " + "with words " * 20)
    chat.wait_answered()
    chat.page.get_by_role("button", name="Another answer").click()
    chat.page.get_by_text("2 / 2").wait_for()
    chat.wait_answered()
    chat.refuse_with(429, "the queue is full")
    chat.ask("Another one")
    chat.answers.get_by_role("alert").wait_for()


def complaints(chat: Any) -> list[str]:
    return axe_complaints(chat.page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [False, True])
def test_axe_finds_nothing_in_any_state(new_page: Callable[..., Any], scheme: str, phone: bool) -> None:
    chat = new_page(color_scheme=scheme, reduced_motion="reduce", **(PHONE if phone else {})).open()
    assert complaints(chat) == []
    fill(chat)
    assert complaints(chat) == []
    chat.page.get_by_role("button", name="Edit message").first.click()
    assert complaints(chat) == []
    chat.page.get_by_role("button", name="Cancel").click()
    chat.open_settings().get_by_label("Temperature").fill("99")
    assert complaints(chat) == []
    chat.page.keyboard.press("Escape")
    if phone:
        chat.page.get_by_role("button", name="Conversations").click()
        assert complaints(chat) == []


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_a_phone(new_page: Callable[..., Any], width: int) -> None:
    chat = new_page(**{**PHONE, "viewport": {"width": width, "height": 700}}).open()
    wide = "() => [document.documentElement.scrollWidth, document.getElementById('log').scrollWidth, innerWidth]"
    assert max(chat.page.evaluate(wide)[:2]) <= width
    fill(chat)
    page_width, log_width, _ = chat.page.evaluate(wide)
    assert (page_width <= width, log_width <= width) == (True, True)
    table = chat.page.locator(".table").first
    assert table.evaluate("node => node.scrollWidth > node.clientWidth")
    chat.open_settings()
    assert chat.page.evaluate(
        "() => { const node = document.querySelector('.dialog-body'); return node.scrollWidth <= node.clientWidth; }"
    )
    chat.page.keyboard.press("Escape")
    chat.page.get_by_role("button", name="Edit message").first.click()
    assert chat.page.evaluate(wide)[0] <= width


def test_the_drawer_of_a_phone_opens_and_closes(new_page: Callable[..., Any]) -> None:
    chat = new_page(**PHONE).open()
    sidebar, menu = chat.page.locator("#sidebar"), chat.page.get_by_role("button", name="Conversations")
    assert not sidebar.is_visible()
    menu.click()
    chat.page.get_by_role("button", name="New chat").wait_for()
    assert chat.page.locator("#stage").evaluate("node => node.inert")
    chat.page.keyboard.press("Escape")
    assert not sidebar.is_visible()
    assert menu.evaluate("node => node === document.activeElement")
    menu.click()
    chat.page.mouse.click(350, 400)
    assert not sidebar.is_visible()


def test_on_a_phone_enter_begins_a_line(new_page: Callable[..., Any]) -> None:
    chat = new_page(**PHONE).open()
    chat.answer_with("Yes.")
    chat.prompt.press_sequentially("one")
    chat.page.keyboard.press("Enter")
    chat.prompt.press_sequentially("two")
    chat.page.get_by_role("button", name="Send", exact=True).click()
    chat.wait_answered()
    assert chat.sent[0]["messages"][0]["content"] == "one\ntwo"


def test_the_theme_follows_the_system_until_one_is_chosen(new_page: Callable[..., Any]) -> None:
    chat = new_page(color_scheme="dark").open()
    body, dark, light = chat.page.locator("body"), "rgb(22, 24, 28)", "rgb(255, 255, 255)"
    chat.expect(body).to_have_css("background-color", dark)
    chat.page.emulate_media(color_scheme="light")
    chat.expect(body).to_have_css("background-color", light)
    chat.page.get_by_role("button", name="Use the dark theme").click()
    chat.expect(body).to_have_css("background-color", dark)
    chat.page.reload()
    chat.page.get_by_role("button", name="Use the light theme").wait_for()
    chat.expect(body).to_have_css("background-color", dark)
    chat.open_settings().get_by_label("As the system").check()
    chat.expect(body).to_have_css("background-color", light)


def test_everything_is_reached_by_the_keyboard_in_order(chat: Any) -> None:
    chat.answer_with("Yes, `code`.")
    chat.ask("Hello")
    chat.wait_answered()
    chat.page.locator("#skip").focus()
    names: list[str] = []
    focused = "(({ ariaLabel, innerText, id }) => ariaLabel || innerText || id)(document.activeElement)"
    for _ in range(25):
        names.append(chat.page.evaluate(focused).split("\n")[0])
        chat.page.keyboard.press("Tab")
    wanted = ["Skip to the message field", "New chat", "Search conversations", "Hello", "Rename Hello", "Delete Hello"]
    wanted += ["Conversations", "Model", "Use the dark theme", "Settings", "Messages", "Copy message", "Edit message"]
    wanted += ["Copy message", "Another answer", "prompt"]
    places = [next((i for i, name in enumerate(names) if name.startswith(one)), None) for one in dict.fromkeys(wanted)]
    assert None not in places, names
    assert places == sorted(places, key=lambda place: place or 0), names


def test_what_happens_is_announced_once_it_is_over(chat: Any) -> None:
    announcer = chat.page.locator("#announcer")
    chat.answer_with("It ", "is ", "done.")
    chat.ask("Do it")
    chat.expect(announcer).to_have_text("Answer: It is done.")
    assert announcer.get_attribute("aria-live") == "polite"
    assert chat.page.locator("[aria-live]").count() == 1
    chat.refuse_with(400, "no")
    chat.ask("Again")
    chat.expect(announcer).to_have_text("No answer: no")


def test_nothing_moves_for_those_who_want_that(new_page: Callable[..., Any]) -> None:
    chat = new_page(reduced_motion="reduce").open()
    moving = "() => document.getAnimations().length"
    chat.page.route("**/v1/chat/completions", lambda route: None)
    chat.ask("Wait")
    chat.page.locator(".waiting").wait_for()
    assert chat.page.evaluate(moving) == 0
    chat.page.keyboard.press("Escape")
    chat.wait_answered()
