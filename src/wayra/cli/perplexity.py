"""`wayra perplexity`: how well a model predicts a text, and how far its predictions are from another model's."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import WayraError
from wayra.base.settings import Settings
from wayra.cli.generation import MODEL_OPTIONS, decoded, load_model, with_options
from wayra.cli.output import emit, json_option, make_console, print_line

if TYPE_CHECKING:
    from wayra.lab.divergence import Divergence
    from wayra.llm import LLM, Perplexity

EPILOG = """\b
Examples:
  wayra perplexity notes.txt
  wayra perplexity -m llama3.2:1b --context 2048 wiki.test.raw
  wayra perplexity --stride 256 --json - < notes.txt
  wayra perplexity -m ./model-Q4_K_M.gguf --against ./model-F16.gguf wiki.test.raw
"""

DEFAULT_WINDOW = 512
SCORE_ROWS = 128


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@with_options(MODEL_OPTIONS[:1])
@click.option("--context", type=click.IntRange(min=4), default=DEFAULT_WINDOW, show_default=True, metavar="TOKENS",
              help="Length of a window.")  # fmt: skip
@click.option("--stride", type=click.IntRange(min=1), metavar="TOKENS",
              help="Score every token once, moving the windows by so much.")  # fmt: skip
@click.option("--against", metavar="NAME",
              help="How far the predictions are from this model's, such as the one that was quantised.")  # fmt: skip
@click.option("--limit-bytes", type=click.IntRange(min=1), metavar="N", help="Only the beginning of the file.")
@with_options(MODEL_OPTIONS[2:])
@json_option
@click.pass_obj
def perplexity(settings: Settings, file: Path, as_json: bool, **options: Any) -> None:
    """Measure how well a model predicts FILE (- is standard input); lower is better.

    As llama.cpp defines it: the text is cut into windows, each begun with BOS where the model wants one, and the
    second half of each window is scored. With --stride every token is scored once, with the context its window gives.
    --against adds the Kullback-Leibler divergence of what the model expects after each token from what that model does,
    in nats: 0 for a model and itself.
    """
    if options["against"] is not None and options["stride"] is not None:
        raise click.UsageError("--against compares windows side by side; leave out --stride")
    text = _text(file, options["limit_bytes"])
    if options["against"] is not None:
        _compare(settings, text, options, as_json)
        return
    with load_model(settings, options, {"max_batch": 2, "score_rows": SCORE_ROWS, "prefix_cache": False}) as llm:
        with _display(settings, as_json) as on_window:
            result = llm.perplexity(text, context_len=options["context"], stride=options["stride"], on_window=on_window)
        emit(_report(llm, options, result), as_json, lambda: print_line(_sentence(result)))


def _compare(settings: Settings, text: str, options: dict[str, Any], as_json: bool) -> None:
    from wayra.cli.progress import make_progress
    from wayra.lab.divergence import diverge
    from wayra.lab.divergence.predictor import Predictor
    from wayra.llm.options import LLMOptions

    how = LLMOptions(
        backend=options["backend"],
        context_len=options["context"],
        threads=options["threads"],
        kv_dtype=options["kv_dtype"],
        map_weights=options["mmap"],
        max_batch=1,
    )
    progress = make_progress(settings)
    with (
        Predictor(options["against"], settings, how, progress) as reference,
        Predictor(options["model"], settings, how, progress) as model,
        _display(settings, as_json) as on_window,
    ):
        found = diverge(reference, model, text, options["context"], on_window)
    report = {"model": model.name, "against": reference.name, "context": options["context"], **asdict(found)}
    emit(report, as_json, lambda: _print_divergence(found))


def _print_divergence(found: "Divergence") -> None:
    print_line(
        f"divergence {found.mean:.6f} ± {found.standard_error:.6f} nats a token, 99 % of tokens below {found.p99:.6f}; "
        f"same first choice for {found.same_top_share:.2%}"
    )
    print_line(
        f"perplexity {found.perplexity:.4f}, of the other {found.reference_perplexity:.4f}, over {found.tokens:,} "
        f"tokens in {found.windows:,} windows"
    )


def _text(file: Path, limit_bytes: int | None) -> str:
    if str(file) == "-":
        content, what = sys.stdin.buffer.read(-1 if limit_bytes is None else limit_bytes), "standard input"
    else:
        what = str(file)
        try:
            with file.open("rb") as opened:
                content = opened.read(-1 if limit_bytes is None else limit_bytes)
        except FileNotFoundError as error:
            raise WayraError(f"{file} does not exist; give the path of a text file") from error
    if limit_bytes is not None and len(content) == limit_bytes:
        content = _whole_characters(content)
    return decoded(content, what)


def _whole_characters(content: bytes) -> bytes:
    """Without the bytes of a character that the limit cut in two."""
    for length in range(1, min(4, len(content)) + 1):
        lead = content[-length]
        if lead & 0xC0 != 0x80:
            needed = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return content if needed <= length else content[:-length]
    return content


def _report(llm: "LLM", options: dict[str, Any], result: "Perplexity") -> dict[str, object]:
    definition = "halves" if options["stride"] is None else "sliding"
    return {
        "model": llm.name,
        "definition": definition,
        "context": options["context"],
        "stride": options["stride"],
        "perplexity": result.perplexity,
        "standard_error": result.standard_error,
        "mean_nll": result.mean_nll,
        "tokens": result.tokens,
        "windows": result.windows,
        "total_s": result.total_s,
        "tokens_per_s": result.tokens_per_s,
    }


def _sentence(result: "Perplexity") -> str:
    return (
        f"perplexity {result.perplexity:.4f} ± {result.standard_error:.4f} over {result.tokens:,} tokens "
        f"in {result.windows:,} windows; {result.tokens_per_s:,.1f} tokens/s"
    )


def _display(
    settings: Settings, as_json: bool
) -> AbstractContextManager["Callable[[Perplexity | Divergence], None] | None"]:
    if as_json or not sys.stderr.isatty():
        return nullcontext(None)
    return _Bar(settings)


class _Bar:
    """A progress bar with the running value, on the terminal's stderr."""

    def __init__(self, settings: Settings) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=make_console(settings, stderr=True), transient=True)
        self._task = self._progress.add_task("perplexity", total=None)

    def __enter__(self) -> "Callable[[Perplexity | Divergence], None]":
        self._progress.start()
        return self._show

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def _show(self, running: "Perplexity | Divergence") -> None:
        from wayra.llm import Perplexity

        if isinstance(running, Perplexity):
            described = f"perplexity {running.perplexity:.4f} ± {running.standard_error:.4f}"
        else:
            described = f"divergence {running.mean:.6f} ± {running.standard_error:.6f}"
        self._progress.update(self._task, completed=running.windows, total=running.num_windows, description=described)
