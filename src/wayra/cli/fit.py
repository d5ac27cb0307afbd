"""`wayra fit`: whether a model fits a card or this machine, what takes the memory, and how fast it would be."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from wayra.base.errors import InvalidParameter, WayraError
from wayra.base.settings import Settings
from wayra.cli.counts import TokenCount
from wayra.cli.output import emit, json_option, print_line, printable
from wayra.plan.constants import constants_for, default_constants, read_constants
from wayra.plan.hardware import Hardware, hardware, this_machine
from wayra.plan.memory import Fit, Request, fit, shares_heads
from wayra.plan.quantity import Quantity, explain, number
from wayra.plan.reading import Described, describe, path_of
from wayra.plan.roofline import (
    NOT_VALIDATED,
    Constants,
    Deployment,
    Load,
    Speed,
    decode_terms,
    first_token,
    prefill_terms,
    speed,
)
from wayra.plan.stored import FORMATS, Stored, kv_bits, stored_as
from wayra.weights.sources.aliases import ALIASES
from wayra.weights.sources.resolve import resolve

EPILOG = """\b
Examples:
  wayra fit llama3.1:8b --gpu l40s --context 32k --batch 8
  wayra fit llama3.1:405b --gpu h100 --format fp8 --explain
  wayra fit ./model.gguf --cpu --context 8k
  wayra fit ./config.json --gpu rtx4090 --format awq-int4 --json
"""
PROMPTS_KV_BITS = 16


@click.command(name="fit", epilog=EPILOG)
@click.argument("model")
@click.option("--gpu", metavar="NAME", help="The card, e.g. h100, l40s, rtx4090, m4-max.")
@click.option("--cpu", is_flag=True, help="This machine, with the memory that is free now.")
@click.option("--gpus", type=int, help="So many cards; without it, the fewest that hold it.")
@click.option("--context", type=TokenCount(), default="8k", show_default=True, help="Tokens of a sequence: 8192, 32k.")
@click.option("--batch", type=int, default=1, show_default=True, help="Sequences at once.")
@click.option(
    "--format", "fmt", metavar="NAME", help="bf16, fp8, awq-int4, q4_0, ...  [default: the file's own, or bf16]"
)
@click.option("--kv", default="bf16", show_default=True, metavar="TYPE", help="Type of the KV cache: bf16, fp8, f32.")
@click.option("--constants", type=click.Path(path_type=Path), metavar="FILE", help="What `wayra calibrate` wrote.")
@click.option("--explain", "with_steps", is_flag=True, help="Show the formula and the sources of every number.")
@json_option
@click.pass_obj
def fit_verb(settings: Settings, model: str, as_json: bool, **flags: Any) -> None:
    """Say what a model takes of a card's memory or of this machine's, and the largest context and batch that fit.

    MODEL is a name (llama3.1:8b, mixtral-8x7b, llama-4-scout), a config.json, a GGUF or safetensors file, or any model
    that has been pulled. On --cpu, a model that has been pulled is weighed in its own format.
    """
    gpu, fmt, constants = flags["gpu"], flags["fmt"], flags["constants"]
    if flags["cpu"] == (gpu is not None):
        raise click.UsageError("give --gpu NAME or --cpu, one of them")
    today = datetime.now(tz=UTC).date()
    machine = _here(today) if gpu is None else hardware(gpu)
    described = _described(model, settings, prefer_file=flags["cpu"])
    stored = stored_as(fmt) if fmt is not None else described.stored or _usual(model, on_cpu=flags["cpu"])
    request = Request(flags["batch"], flags["context"], kv_bits(flags["kv"]))
    found = fit(described.model, stored, machine, request, flags["gpus"])
    chosen = default_constants(machine.kind)
    if constants is not None:
        chosen = constants_for(read_constants(constants), machine.kind)
    deployment = Deployment(described.model, stored, machine, found.gpus or 1, request.kv_bits)
    runs = found.gpus is not None and machine.bytes_per_s and not described.model.reads_apart
    runs = runs and shares_heads(described.model, found.gpus or 1)
    times = _speeds(deployment, request, chosen) if runs else {}
    notes = [*found.warnings, machine.stale(today), f"constants of speed: {chosen.source}" if times else ""]
    if machine.kind == "cpu" and request.kv_bits > PROMPTS_KV_BITS:
        notes.append("prompts were measured with a KV cache in 16 bits; their attention takes longer in 32")
    document = {
        **_document(deployment, request, found),
        "speed": {name: _as_row(time) for name, time in times.items()},
        "notes": [text for text in notes if text],
    }
    emit(document, as_json, lambda: _print(document, found, flags["with_steps"]))


def _here(today: date) -> Hardware:
    # It loads the engine, which no question about a card needs.
    from wayra.llm.memory import available_bytes

    return this_machine(available_bytes() or 0, today=today)


def _described(model: str, settings: Settings, *, prefer_file: bool) -> Described:
    """By its file where there is one, else by the table of shapes. Raises what the table raises, with what to do."""
    path = path_of(model)
    if path is None or path.exists():
        return describe(model)
    if prefer_file and (path := _pulled(model, settings)) is not None:
        return describe(str(path))
    try:
        return describe(model)
    except InvalidParameter as error:
        if (path := _pulled(model, settings)) is not None:
            return describe(str(path))
        raise InvalidParameter(f"{error}, or pull it first (wayra pull {model[:80]})") from None


def _pulled(model: str, settings: Settings) -> Path | None:
    try:
        return resolve(model, settings, offline=True).path
    except WayraError:
        return None


def _usual(model: str, *, on_cpu: bool) -> Stored:
    """How this engine's short names are stored; 16 bits for all else, and on cards."""
    target = ALIASES[model].target if on_cpu and model in ALIASES else ""
    # "org/repo:Q4_K_M", or a file whose name ends in its format.
    named = re.split(r"[:.]", target.removesuffix(".gguf"))[-1].lower()
    return stored_as(named if named in FORMATS else "bf16")


def _speeds(deployment: Deployment, request: Request, constants: Constants) -> dict[str, Speed]:
    terms = decode_terms(deployment, Load(request.batch, request.context, 0), interleaved=False)
    step = speed(terms, constants)
    prompt = speed(prefill_terms(deployment, request.context), constants.of_prompts())
    first = first_token(step, prompt, request.batch, constants)
    return {"decode_step": step, "prefill": prompt} | ({"first_token": first} if first is not None else {})


def _document(deployment: Deployment, request: Request, found: Fit) -> dict[str, object]:
    model = deployment.model
    return {
        "model": model.title,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "format": deployment.stored.name,
        "hardware": deployment.hardware.title,
        "batch": request.batch,
        "context": request.context,
        "fits": found.fits,
        "gpus": found.gpus,
        "why_not_fewer": found.why_not_fewer,
        "memory_bytes": {name: quantity.value for name, quantity in _parts(found)},
        "max_context_at_batch": found.max_context,
        "max_batch_at_context": found.max_batch,
        "explanations": {name: explain(quantity) for name, quantity in _parts(found)},
    }


def _as_row(time: Speed) -> dict[str, object]:
    return {
        "seconds": time.seconds,
        "validated": time.low is not None,
        "low": time.low,
        "high": time.high,
        "bounded_by": time.bounded_by,
        "shares": dict(time.shares),
    }


def _parts(found: Fit) -> list[tuple[str, Quantity]]:
    return [
        ("weights", found.weights),
        ("KV cache", found.kv),
        ("activations", found.activations),
        ("runtime", found.runtime),
        ("total", found.total),
        ("usable", found.usable),
    ]


def _print(document: dict[str, object], found: Fit, with_steps: bool) -> None:
    print_line(
        printable(
            f"{document['model']}, {document['format']}, on {document['hardware']}: "
            f"{document['batch']:,} x {document['context']:,} tokens"
        )
    )
    for name, quantity in _parts(found):
        print_line(f"  {name:<12} {number(quantity.value / 1e9):>10} GB")
    if found.gpus is None:
        print_line(printable(f"Does not fit: {found.why_not_fewer}"))
    else:
        told = found.why_not_fewer
        fewer = "" if found.gpus == 1 else f"; {told}" if told.endswith("would do") else f"; not fewer: {told}"
        print_line(printable(f"Fits on {found.gpus}{fewer}"))
    print_line(f"  largest context at this batch  {found.max_context:>12,} tokens")
    print_line(f"  largest batch at this context  {found.max_batch:>12,}")
    _print_speed(document)
    for text in _texts(document["notes"]):
        print_line(printable(f"note: {text}"))
    if with_steps:
        for name, quantity in _parts(found):
            print_line()
            print_line(f"{name}:")
            for line in explain(quantity):
                print_line(printable(f"  {line}"))


def _print_speed(document: dict[str, object]) -> None:
    times = document["speed"]
    if not isinstance(times, dict) or not times:
        return
    step, prefill = times["decode_step"], times["prefill"]
    rate = int(str(document["batch"])) / step["seconds"]
    print_line(f"  decode step {_ms(step)}, {number(rate)} tok/s over all sequences; bounded by {step['bounded_by']}")
    print_line(f"  reading one prompt {_ms(prefill)}; bounded by {prefill['bounded_by']}")
    if first := times.get("first_token"):
        print_line(f"  first token of a request to a server {_ms(first)}; bounded by {first['bounded_by']}")


def _ms(time: dict[str, float]) -> str:
    within = f"{number(time['low'] * 1e3)} to {number(time['high'] * 1e3)}" if time["validated"] else NOT_VALIDATED
    return f"{number(time['seconds'] * 1e3)} ms ({within})"


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
