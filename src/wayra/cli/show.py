"""`wayra show`: what a model is, from its files alone; nothing is loaded or fetched."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from wayra.base.errors import ModelNotFound, WayraError
from wayra.base.settings import Settings
from wayra.cli.output import emit, human_bytes, json_option, print_line, printable
from wayra.model.spec import ModelSpec
from wayra.weights.loader import model_spec, open_checkpoint
from wayra.weights.sources import ALIASES, DEFAULT_MODEL, Alias, find, understand
from wayra.weights.tensors import Checkpoint

MAX_CONFIG_BYTES = 8 << 20

EPILOG = """\b
Examples:
  wayra show smollm2
  wayra show ./model.gguf --json | jq .spec
  wayra show llama3.2:1b --template       only the chat template
"""


@dataclass(frozen=True, slots=True)
class FormatCount:
    """How many tensors and bytes one storage format takes."""

    tensors: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Description:
    """problem: why wayra cannot run the model, None when it can. spec: None when the metadata do not give one."""

    name: str
    path: Path
    kind: str
    parameters: int
    size_bytes: int
    formats: dict[str, FormatCount]
    spec: ModelSpec | None
    problem: str | None
    tokenizer: str | None
    chat_template: str | None
    files: tuple[Path, ...]


@click.command(epilog=EPILOG)
@click.argument("name", default=DEFAULT_MODEL)
@click.option("--template", is_flag=True, help="Print the chat template and nothing else.")
@json_option
@click.pass_obj
def show(settings: Settings, name: str, template: bool, as_json: bool) -> None:
    """Describe a model: its shape, parameters, storage formats, context, chat template and files.

    NAME is anything `wayra run` takes. A model that is not on this machine is not fetched.
    """
    path = _local_path(name, settings)
    if path is None:
        alias = ALIASES[name.lower()]
        emit({**asdict(alias), "here": False}, as_json, lambda: _print_alias(alias))
        return
    description = describe(name, path)
    if template:
        if description.chat_template is None:
            raise ModelNotFound(
                f"{name} brings no chat template; `wayra run` takes the one its control tokens belong to, or plain text"
            )
        text = description.chat_template
        emit({"name": name, "chat_template": text}, as_json, lambda: print_line(text))
        return
    emit(description, as_json, lambda: _print_description(description))


def _local_path(name: str, settings: Settings) -> Path | None:
    """The model's path, None for an alias that is not on this machine. Raises ModelNotFound for other absent models."""
    reference = understand(name, settings)
    if isinstance(reference, Path):
        return reference
    stored = find(reference, settings)
    if stored is not None:
        return stored.path
    if name.lower() in ALIASES:
        return None
    raise ModelNotFound(f"{name} is not on this machine; `wayra pull {name}` fetches it")


def describe(name: str, path: Path) -> Description:
    """Everything the files say. Raises what opening them raises; an unsupported model is described all the same."""
    checkpoint = open_checkpoint(path)
    try:
        spec, problem = _spec(checkpoint)
        tensors = checkpoint.tensors.values()
        formats: dict[str, FormatCount] = {}
        for tensor in tensors:
            old = formats.get(tensor.fmt.name, FormatCount(0, 0))
            formats[tensor.fmt.name] = FormatCount(old.tensors + 1, old.size_bytes + len(tensor.data))
        return Description(
            name=name,
            path=path,
            kind=checkpoint.kind,
            parameters=sum(math.prod(tensor.shape) for tensor in tensors),
            size_bytes=sum(file.stat().st_size for file in checkpoint.paths),
            formats=dict(sorted(formats.items(), key=lambda item: -item[1].size_bytes)),
            spec=spec,
            problem=problem,
            tokenizer=_tokenizer(checkpoint, path),
            chat_template=_chat_template(checkpoint, path),
            files=checkpoint.paths,
        )
    finally:
        checkpoint.close()


def _spec(checkpoint: Checkpoint) -> tuple[ModelSpec | None, str | None]:
    try:
        return model_spec(checkpoint), None
    except WayraError as error:
        return None, str(error)


def _tokenizer(checkpoint: Checkpoint, path: Path) -> str | None:
    if checkpoint.kind == "gguf":
        names = [checkpoint.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre")]
        return "/".join(str(name) for name in names if name) or None
    folder = path if path.is_dir() else path.parent
    return next((name for name in ("tokenizer.json", "tokenizer.model") if (folder / name).is_file()), None)


def _chat_template(checkpoint: Checkpoint, path: Path) -> str | None:
    if checkpoint.kind == "gguf":
        template = checkpoint.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None
    folder = path if path.is_dir() else path.parent
    if (text := _small_text(folder / "chat_template.jinja")) is not None:
        return text
    try:
        config = json.loads(_small_text(folder / "tokenizer_config.json") or "{}")
    except (ValueError, RecursionError):
        return None
    template = config.get("chat_template") if isinstance(config, dict) else None
    return template if isinstance(template, str) else None


def _small_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8") if path.stat().st_size <= MAX_CONFIG_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None


def _print_alias(alias: Alias) -> None:
    print_line(f"{alias.name}: {alias.title}, not on this machine")
    _print_pairs(
        [
            ("parameters", f"{alias.parameters:,}"),
            ("download", f"about {human_bytes(alias.download_bytes)}"),
            ("licence", alias.licence),
            ("from", alias.target),
            ("to fetch it", f"wayra pull {alias.name}"),
        ]
    )


def _print_description(d: Description) -> None:
    print_line(printable(f"{d.name}: {d.spec.name if d.spec else d.path.name}"))
    pairs = [("parameters", f"{d.parameters:,}"), ("size", f"{human_bytes(d.size_bytes)} ({d.kind})")]
    pairs += [
        ("formats", ", ".join(f"{fmt} {n.tensors} tensors {human_bytes(n.size_bytes)}" for fmt, n in d.formats.items()))
    ]
    if d.spec is not None:
        pairs += _spec_pairs(d.spec)
    if d.problem is not None:
        pairs.append(("cannot run", d.problem))
    pairs.append(("tokenizer", d.tokenizer or "none in the file"))
    template = (
        f"yes, {len(d.chat_template):,} characters (--template prints it)" if d.chat_template else "none in the file"
    )
    pairs.append(("chat template", template))
    pairs += [("file", str(file)) for file in d.files]
    _print_pairs(pairs)


def _spec_pairs(spec: ModelSpec) -> list[tuple[str, str]]:
    rope = f"theta {spec.rope.theta:g}" + ("" if spec.rope.scaling == "none" else f", {spec.rope.scaling} scaling")
    pairs = [
        ("family", spec.family),
        ("context", f"{spec.context_len:,} tokens"),
        ("layers", f"{spec.num_layers}"),
        ("hidden size", f"{spec.hidden_size:,}, feed-forward {spec.ffn_size:,}"),
        ("heads", f"{spec.num_heads} of {spec.head_dim}, {spec.num_kv_heads} for keys and values"),
        ("vocabulary", f"{spec.vocab_size:,}" + (", embeddings tied" if spec.tied_embeddings else "")),
        ("rope", rope),
    ]
    if spec.sliding_window is not None:
        pairs.append(("window", f"{spec.sliding_window:,} tokens"))
    return pairs


def _print_pairs(pairs: list[tuple[str, str]]) -> None:
    for label, value in pairs:
        print_line(f"  {label:<14} {printable(value)}")
