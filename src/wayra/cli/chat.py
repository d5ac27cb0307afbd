"""`wayra chat`: a conversation on a terminal, or through a pipe."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import ServerError, TemplateError, WayraError
from wayra.base.settings import Settings
from wayra.cli import conversation as saved
from wayra.cli.chat_input import PipeReader, Reader, TerminalReader
from wayra.cli.conversation import Conversation
from wayra.cli.generation import (
    MODEL_OPTIONS,
    SAMPLING_OPTIONS,
    SERVER_OPTIONS,
    SPECULATION_OPTIONS,
    for_terminal,
    load_model,
    report,
    sampling_params,
    stats_lines,
    with_options,
)
from wayra.cli.output import json_option, note, print_line, report_error, to_json, write_text

if TYPE_CHECKING:
    from wayra.engine.request import SamplingParams
    from wayra.llm import LLM, Completion
    from wayra.llm.options import OptionFields

EPILOG = """\b
Examples:
  wayra chat
  wayra chat llama3.2:1b --system "You are a pirate." -t 0.7
  wayra chat --load yesterday.json
  wayra chat --url http://127.0.0.1:8000
  printf 'Hi, I am Ana.\\nWhat is my name?\\n' | wayra chat --json
"""

MAX_CONTEXT_LEN = 1 << 30
"""Of a server that does not tell its own."""

HELP = """\
/reset          forget the conversation
/system [TEXT]  show or change the instructions that come before it
/save FILE      write the conversation to a file
/load FILE      go on with a saved one
/stats          figures of the last answer
/quit           leave (as Ctrl-D)
Enter sends; Alt-Enter or a backslash at the end starts a new line; three quotes (\"\"\") begin and end a longer text.
Ctrl-C stops the answer. A message that begins with / is written with two of them."""


@click.command(epilog=EPILOG)
@click.argument("name", metavar="[MODEL]", required=False)
@with_options(MODEL_OPTIONS[:1])
@click.option("--system", metavar="TEXT", help="Instructions that come before the conversation.")
@click.option("--load", "load_path", type=click.Path(path_type=Path), metavar="FILE", help="Go on with a saved chat.")
@with_options(SERVER_OPTIONS, SAMPLING_OPTIONS, MODEL_OPTIONS[1:], SPECULATION_OPTIONS)
@click.option("--stats", is_flag=True, help="Times, rates and memory after each answer, on stderr.")
@json_option
@click.pass_obj
def chat(settings: Settings, name: str | None, as_json: bool, **options: Any) -> None:
    """Talk to MODEL.

    On a terminal: history, messages of several lines, and commands (/help lists them); Ctrl-C stops the answer, Ctrl-D
    leaves. Through a pipe: one message a line, the answers on standard output, with --json one object a line. When the
    conversation outgrows the context, its oldest turns are no longer sent, and a notice says so.
    """
    if name is not None:
        options["model"] = name
    params = sampling_params(options)
    messages = saved.load(options["load_path"]) if options["load_path"] else []
    use: OptionFields = {"max_batch": 1, "score_rows": 1, "prepare_chat": True, "quick_start": True}
    with load_model(settings, options, use) as llm:
        if not llm.can_chat:
            raise TemplateError(f'{llm.name} has no chat template; continue a text with: wayra run --raw -m NAME "..."')
        talk = _conversation(llm, params.max_tokens or 0)
        talk.replace(messages)
        talk.system = options["system"] or talk.system
        interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
        session = ChatSession(llm, talk, params, as_json=as_json, with_stats=options["stats"])
        if interactive:
            where = f"at {llm.url}" if llm.url is not None else f"context of {llm.context_len:,} tokens"
            print_line(f"{llm.name}, {where}. /help lists the commands, Ctrl-D leaves.")
            session.talk(TerminalReader(settings.cache_dir))
        else:
            session.follow(PipeReader())


def _conversation(llm: "LLM", answer_len: int) -> Conversation:
    """Oldest turns are left out where the model's tokens can be counted; other servers say themselves what is too long.

    A server that has no way to count is found out here, not in the middle of a chat.
    """
    try:
        context_len = llm.context_len
        if llm.url is not None:
            llm.prompt_ids([{"role": "user", "content": "Hello"}])
    except ServerError as error:
        note(f"the whole conversation is always sent: {error}")
        return Conversation(lambda sent: 0, MAX_CONTEXT_LEN, answer_len)
    return Conversation(lambda sent: len(llm.prompt_ids(sent)), context_len, answer_len)


class ChatSession:
    """Runs the turns and commands of one chat."""

    def __init__(
        self, llm: "LLM", talk: Conversation, params: "SamplingParams", *, as_json: bool, with_stats: bool
    ) -> None:
        self._llm = llm
        self._talk = talk
        self._params = params
        self._as_json = as_json
        self._with_stats = with_stats
        self._last: Completion | None = None

    def talk(self, reader: Reader) -> None:
        """On a terminal: errors and Ctrl-C end the turn, not the chat."""
        while True:
            try:
                message = reader.read()
            except KeyboardInterrupt:
                _say("Ctrl-D or /quit leaves")
                continue
            except EOFError:
                return
            try:
                if not self.handle(message):
                    return
            except KeyboardInterrupt:
                _say("[stopped]")
            except WayraError as error:
                report_error(str(error), type(error).__name__, as_json=False)

    def follow(self, reader: Reader) -> None:
        """From a pipe: the first error ends the chat."""
        while True:
            try:
                message = reader.read()
            except EOFError:
                return
            if not self.handle(message):
                return

    def handle(self, message: str) -> bool:
        """A message or a command. False when it asks to leave. Raises WayraError, KeyboardInterrupt."""
        if message.startswith("/") and not message.startswith("//"):
            return self._command(message)
        if message.strip():
            self._turn(message.removeprefix("/") if message.startswith("//") else message)
        return True

    def _turn(self, text: str) -> None:
        notice = self._talk.ask(text)
        if notice is not None:
            _say(f"[{notice}]")
        said = ""
        try:
            with self._llm.stream(self._talk.sent(), self._params) as stream:
                for chunk in stream:
                    said += chunk.text
                    if not self._as_json:
                        write_text(for_terminal(chunk.text) if sys.stdout.isatty() else chunk.text)
        finally:
            # What was heard before a Ctrl-C was said.
            self._talk.answer(said)
            if not self._as_json and (said or sys.stdout.isatty()) and not said.endswith("\n"):
                write_text("\n")
        if stream.completion is not None:
            self._finish(stream.completion)

    def _finish(self, completion: "Completion") -> None:
        self._last = completion
        if self._as_json:
            print_line(to_json(report(self._llm, completion)))
            sys.stdout.flush()
        elif completion.finish_reason == "length":
            full = completion.usage.completion_tokens < (self._params.max_tokens or 0)
            _say("[cut: the context is full]" if full else "[cut: --max-tokens allows more]")
        if self._with_stats:
            self._show_stats()

    def _command(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in {"/quit", "/exit", "/bye"}:
            return False
        commands = {
            "/help": lambda: _say(HELP),
            "/reset": self._reset,
            "/system": lambda: self._system(rest),
            "/save": lambda: self._save(rest),
            "/load": lambda: self._load(rest),
            "/stats": self._show_stats,
        }
        command = commands.get(word)
        if command is None:
            raise WayraError(f"there is no command {word[:40]!r}; /help lists them, // begins a message with a slash")
        command()
        return True

    def _reset(self) -> None:
        self._talk.reset()
        _say("[the conversation starts afresh]")

    def _system(self, text: str) -> None:
        if text:
            self._talk.system = text
        _say(f"[system: {self._talk.system or 'none'}]")

    def _save(self, name: str) -> None:
        path = _path(name, "/save")
        saved.save(path, self._llm.name, self._talk.all())
        _say(f"[saved to {path}]")

    def _load(self, name: str) -> None:
        path = _path(name, "/load")
        self._talk.replace(saved.load(path))
        _say(f"[{len(self._talk.messages)} messages from {path}]")

    def _show_stats(self) -> None:
        _say("[no answer yet]" if self._last is None else "\n".join(stats_lines(self._llm, self._last)))


def _path(name: str, command: str) -> Path:
    if not name:
        raise WayraError(f"{command} needs a file, as in: {command} chat.json")
    return Path(name).expanduser()


def _say(text: str) -> None:
    click.echo(for_terminal(text), err=True)
