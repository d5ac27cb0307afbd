"""What `run`, `chat` and `perplexity` share: options for the model and the sampling, loading it, and the figures.

Nothing heavy is imported until a model is loaded, so that `--help` stays quick.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from wayra.base.errors import InvalidParameter, WayraError
from wayra.base.settings import Settings
from wayra.cli.collector import kept_for_good
from wayra.cli.output import human_bytes

if TYPE_CHECKING:
    from wayra.engine.request import SamplingParams
    from wayra.llm import LLM, Completion
    from wayra.llm.options import OptionFields
    from wayra.text.template_process import TemplateProcess

DEFAULT_MODEL = "smollm2"
DEFAULT_MAX_TOKENS = 2048

Command = TypeVar("Command", bound=Callable[..., Any])

_CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if chr(code) not in "\t\n"}

MODEL_OPTIONS = (
    click.option("-m", "--model", metavar="NAME", default=DEFAULT_MODEL, show_default=True,
                 help="Model: a path, an alias, org/repo[:QUANT] or pypi:..."),
    click.option("--context", "--max-context", "context", type=click.IntRange(min=1), metavar="TOKENS",
                 help="Context: prompt and answer together.  [default: the model's, at most 8192]"),
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Compute threads.  [default: all allowed]"),
    click.option("--backend", type=click.Choice(["native", "numpy", "null"]), default="native", show_default=True,
                 help="native is fast; numpy the slow specification; null computes nothing."),
    click.option("--kv-dtype", type=click.Choice(["int8", "int16", "bf16", "f16", "f32"]),
                 help="How keys and values are kept.  [default: int8 beside quantised weights, else int16]"),
    click.option("--mmap", is_flag=True,
                 help="Leave the weights on disk: for a model larger than memory, and slow."),
)  # fmt: skip

SPECULATION_OPTIONS = (
    click.option("--speculate", type=click.Choice(["off", "lookup", "draft"]),
                 help="Guess tokens and check several at once: faster, never different.  [default: lookup, or draft "
                      "with --draft-model]"),
    click.option("--draft-model", metavar="NAME", help="Smaller model with the same tokenizer, which guesses."),
)  # fmt: skip

SERVER_OPTIONS = (
    click.option("--url", metavar="URL", help="Ask a running server instead; MODEL is then one of its names.  "
                                              "[default: its first]"),
    click.option("--api-key-file", type=click.Path(path_type=Path), metavar="FILE",
                 help="Holds the key to send to it.  [default: what WAYRA_API_KEY says]"),
)  # fmt: skip

LOADING_OPTIONS = ("context", "threads", "backend", "kv_dtype", "mmap", "speculate", "draft_model")
"""What says how to load a model, and so means nothing to a server."""
MAX_KEY_FILE_BYTES = 64 * 1024

SAMPLING_OPTIONS = (
    click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", default=DEFAULT_MAX_TOKENS, show_default=True,
                 help="Longest answer."),
    click.option("-t", "--temperature", type=float, default=0.0, show_default=True,
                 help="0 always takes the likeliest token, so that answers repeat; 0.7 varies."),
    click.option("--top-k", type=int, default=0, metavar="K", help="Only the K likeliest tokens."),
    click.option("--top-p", type=float, default=1.0, metavar="P", help="Only the likeliest that add up to P."),
    click.option("--min-p", type=float, default=0.0, metavar="P", help="Only those of P times the likeliest's."),
    click.option("--repetition-penalty", type=float, default=1.0, metavar="X", help="Above 1 avoids what was said."),
    click.option("--presence-penalty", type=float, default=0.0, metavar="X", help="Above 0 avoids what was answered."),
    click.option("--frequency-penalty", type=float, default=0.0, metavar="X", help="The same, by how often."),
    click.option("--seed", type=int, metavar="N", help="Makes a temperature above 0 repeatable."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times."),
)  # fmt: skip

_SAMPLING_FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "max_tokens",
    "stop",
)


def with_options(*groups: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """A decorator that adds groups of options in the order written."""

    def decorate(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


def sampling_params(options: Mapping[str, Any]) -> "SamplingParams":
    """From the options of SAMPLING_OPTIONS. Raises InvalidParameter for a value out of range."""
    from wayra.engine.request import SamplingParams

    return SamplingParams(**{name: options[name] for name in _SAMPLING_FIELDS})


def load_model(settings: Settings, options: Mapping[str, Any], use: "OptionFields") -> "LLM":
    """Load what MODEL_OPTIONS and SPECULATION_OPTIONS name, showing downloads on a terminal, or ask the server that
    SERVER_OPTIONS name.

    use: what the verb itself needs of a model it loads.
    """
    if options.get("url") is not None:
        return _remote(settings, options)
    if options.get("api_key_file") is not None:
        raise click.UsageError("--api-key-file is for a server; name it with --url")
    with kept_for_good():
        # The renderer starts while the rest of this process is still being imported: that takes one core of them.
        renderer = _renderer() if use.get("prepare_chat") else None
        from wayra.cli.progress import make_progress
        from wayra.llm import LLM

        chosen: OptionFields = {
            "backend": options["backend"],
            "context_len": options["context"],
            "threads": options["threads"],
            "kv_dtype": options["kv_dtype"],
            "map_weights": options["mmap"],
            "speculate": options.get("speculate"),
            "draft_model": options.get("draft_model"),
            "renderer": renderer,
            **use,
        }
        return LLM(options["model"], settings=settings, progress=make_progress(settings), **chosen)


def _renderer() -> "TemplateProcess":
    """A running renderer of chat templates; it ends with the model it is given to, or when it is collected."""
    from wayra.text.template_process import TemplateLimits, TemplateProcess

    renderer = TemplateProcess(TemplateLimits())
    renderer.prepare()
    return renderer


def _remote(settings: Settings, options: Mapping[str, Any]) -> "LLM":
    from wayra.llm import LLM

    ctx = click.get_current_context()
    refuse_loading_options("--url")
    path = options["api_key_file"]
    key = None if path is None else key_from_file(path)
    return LLM(_asked_model(ctx, options), url=options["url"], api_key=key, settings=settings)


def refuse_loading_options(server: str) -> None:
    """Raises UsageError when the command line says how to load a model. server: what names the one that is asked."""
    ctx = click.get_current_context()
    for name in LOADING_OPTIONS:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = name.replace("_", "-")
            raise click.UsageError(
                f"--{flag} says how to load a model, which the server at {server} does; leave it out", ctx
            )


def _asked_model(ctx: click.Context, options: Mapping[str, Any]) -> str | None:
    """The model that was named; the default is one to load, and no name of a server's."""
    is_named = ctx.params.get("name") is not None or ctx.get_parameter_source("model") is not ParameterSource.DEFAULT
    return options["model"] if is_named else None


def key_from_file(path: Path) -> str:
    """The first word of a file that is no comment, so that a server's own file of keys will do."""
    try:
        with path.open("rb") as file:
            content = decoded(file.read(MAX_KEY_FILE_BYTES), str(path))
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror}") from error
    for line in content.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return line.split()[0]
    raise InvalidParameter(f"{path} holds no API key; write one on a line of its own")


def for_terminal(text: str) -> str:
    """`text` with control characters but tab and newline escaped, so that an answer cannot drive the terminal."""
    return text.translate(_CONTROL)


def decoded(content: bytes, what: str) -> str:
    """UTF-8 text. Raises WayraError naming the first byte that is not."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WayraError(f"{what} is not UTF-8 text (byte {error.start:,}); convert it first") from error


def report(llm: "LLM", completion: "Completion") -> dict[str, object]:
    """The figures of one answer, for --json."""
    return {
        "model": llm.name,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "usage": completion.usage,
        "timings": completion.timings,
        "load_s": llm.load_s,
        "memory": None if llm.url is not None else llm.memory(),
    }


def stats_lines(llm: "LLM", completion: "Completion") -> list[str]:
    """The figures of one answer, for people."""
    usage, timings = completion.usage, completion.timings
    first = "none" if timings.ttft_s is None else f"after {timings.ttft_s:.3f} s"
    cached = f", {usage.cached_tokens:,} of them cached" if usage.cached_tokens else ""
    guessed = f", {usage.accepted_tokens:,} of {usage.drafted_tokens:,} guesses right" if usage.drafted_tokens else ""
    return [
        f"load         {llm.load_s:.3f} s, {llm.name}, context of {llm.context_len:,} tokens"
        if llm.url is None
        else f"server       {llm.url}, {llm.name}",
        f"prompt       {usage.prompt_tokens:,} tokens{cached}{_rate(timings.prefill_tokens_per_s)}",
        f"first token  {first}",
        f"answer       {usage.completion_tokens:,} tokens{_rate(timings.decode_tokens_per_s)}{guessed}",
        *([] if llm.url is not None else [_memory_line(llm)]),
    ]


def _memory_line(llm: "LLM") -> str:
    memory = llm.memory()
    return (
        f"memory       {human_bytes(memory.weights_bytes)} weights, {human_bytes(memory.kv_bytes)} keys and values, "
        f"{human_bytes(memory.activation_bytes)} activations"
    )


def _rate(tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f", {tokens_per_s:,.1f} tokens/s"
