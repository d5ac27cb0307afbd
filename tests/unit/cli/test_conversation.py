"""What a chat remembers, what of it is sent, and the file it is saved to."""

from pathlib import Path

import pytest

from wayra.base.errors import ContextOverflow, WayraError
from wayra.cli.chat_input import is_open, unquoted
from wayra.cli.conversation import MAX_SAVED_BYTES, Conversation, Messages, load, save


def words(messages: Messages) -> int:
    return sum(len(m["content"].split()) for m in messages)


def talk_of(turns: int, context_len: int = 40, answer_len: int = 4) -> Conversation:
    """Each turn is a question and an answer of four words each."""
    talk = Conversation(words, context_len, answer_len)
    for number in range(turns):
        assert talk.ask(f"question number {number} ?") is None
        talk.answer(f"answer number {number} .")
    return talk


def test_everything_is_sent_while_it_fits() -> None:
    talk = talk_of(4)
    talk.system = "be brief"
    assert talk.ask("one more") is None
    assert talk.sent() == [
        {"role": "system", "content": "be brief"},
        *talk.messages,
    ]
    assert len(talk.messages) == 9


def test_a_full_context_leaves_out_the_oldest_turns_down_to_half_and_says_so() -> None:
    talk = talk_of(4)
    notice = talk.ask("the fifth question ?")
    # 36 words and room for 4 fit exactly; the sixth question does not.
    assert notice is None
    talk.answer("answer number 4 .")
    notice = talk.ask("the sixth question ?")
    assert notice is not None
    assert "outgrown the context of 40 tokens: the oldest 6 messages are no longer sent" in notice
    assert words(talk.sent()) == 20
    assert talk.sent()[0] == {"role": "user", "content": "question number 3 ?"}
    assert len(talk.messages) == 11
    assert talk.ask("short one") is None


def test_the_system_message_is_sent_however_full_the_context() -> None:
    talk = talk_of(4)
    talk.system = "always be very brief indeed"
    assert talk.ask("the fifth question , a longer one ?") is not None
    assert talk.sent()[0]["role"] == "system"
    assert talk.sent()[-1]["content"].startswith("the fifth")


def test_a_message_that_does_not_fit_alone_is_refused_with_both_numbers_and_forgotten() -> None:
    talk = talk_of(2)
    before = talk.sent()
    with pytest.raises(ContextOverflow, match="the message takes 50 tokens, the context has 40"):
        talk.ask("word " * 50)
    assert talk.sent() == before


def test_an_answer_that_never_began_takes_its_question_back() -> None:
    talk = talk_of(1)
    talk.ask("never mind")
    talk.answer("")
    assert [m["content"] for m in talk.messages] == ["question number 0 ?", "answer number 0 ."]


def test_a_reset_keeps_the_system_message_only() -> None:
    talk = talk_of(4)
    talk.system = "be brief"
    talk.reset()
    assert talk.sent() == [{"role": "system", "content": "be brief"}]


def test_a_saved_chat_is_read_back_as_it_was(tmp_path: Path) -> None:
    talk = talk_of(2)
    talk.system = "sé breve 🏔"
    path = tmp_path / "chat.json"
    save(path, "smollm2", talk.all())
    other = Conversation(words, 40, 4)
    other.replace(load(path))
    assert other.all() == talk.all()
    save(path, "smollm2", talk.all()[:1])
    assert len(load(path)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["chat.json"]


def test_a_file_that_is_no_saved_chat_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(WayraError, match="exists and is not a saved chat"):
        save(path, "smollm2", [])
    assert path.read_text() == "precious"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(WayraError, match="cannot be written"):
        save(tmp_path / "none" / "chat.json", "smollm2", [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no list of messages"),
        ('{"messages": 5}', "no list of messages"),
        ('{"messages": ["hi"]}', "needs a role"),
        ('{"messages": [{"role": "tool", "content": "hi"}]}', "needs a role"),
        ('{"messages": [{"role": [], "content": "hi"}]}', "needs a role"),
        ('{"messages": [{"role": "user", "content": 5}]}', "needs a role"),
    ],
)
def test_what_is_no_saved_chat_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "chat.json"
    path.write_text(content)
    with pytest.raises(WayraError, match=said):
        load(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    with path.open("wb") as file:
        file.truncate(MAX_SAVED_BYTES + 1)
    with pytest.raises(WayraError, match="larger than 64 MB"):
        load(path)


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [("hello", False), ("hello\\", True), ('"""', True), ('"""a', True), ('"""a\nb"""', False), ('""""""', False)],
)
def test_a_message_goes_on_after_a_backslash_and_between_quotes(text: str, goes_on: bool) -> None:
    assert is_open(text) is goes_on


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\\\nb", "a\nb"), ('"""\na\nb\n"""', "a\nb"), (' say "hi" ', 'say "hi"'), ('"""a"""', "a")],
)
def test_what_made_a_message_several_lines_is_not_part_of_it(text: str, message: str) -> None:
    assert unquoted(text) == message
