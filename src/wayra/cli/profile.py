"""`wayra profile`: where the time of a step goes, by operation and by thread, on the native backend.

The steps run below the engine, on made-up tokens and a cache of zeros: no text changes what they cost.
"""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.generation import DEFAULT_MODEL
from wayra.cli.output import emit, json_option, make_console, note, print_line, printable

if TYPE_CHECKING:
    from wayra.backends.api import StepBatch
    from wayra.backends.native.backend import NativeModel
    from wayra.backends.native.profile import Spent, StepTimes
    from wayra.model.cost import Cost
    from wayra.model.program import Call

EPILOG = """\b
Examples:
  wayra profile smollm2
  wayra profile smollm2 --prefill 0 --decode 4096 --batch 16
  wayra profile ./model.gguf --threads 1 --limits limits.json --json

\b
The limits are measured in the second before the steps, with the instructions that the kernels use. FILE of --limits is
JSON with any of read_gb_s, int8_gop_s, bf16_gop_s, f32_gop_s instead: the rates of all threads together, a multiply-add
counted as two.
"""
MAX_STEP_TOKENS = 1 << 16
MAX_LIMITS_BYTES = 1 << 16
_LAYER = re.compile(r"^layers\.\d+\.")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine does at most with all threads; None: unknown. A multiply-add is two operations."""

    read_gb_s: float | None = None
    int8_gop_s: float | None = None
    bf16_gop_s: float | None = None
    f32_gop_s: float | None = None


@dataclass(frozen=True, slots=True)
class OperationTime:
    """All calls of one operation on one kind of weight in a step.

    busy_ms, wait_ms: the mean thread's work, and its waiting at barriers. share: of the mean thread's work in the step.
    gop, mb: what the cost model counts, operations and bytes of weights and cache; the rates are those over busy_ms.
    limit_share: of the stricter limit; None where a limit it needs is unknown, or the operation does no products.
    """

    name: str
    calls: int
    busy_ms: float
    wait_ms: float
    share: float
    gop: float
    mb: float
    gop_s: float
    gb_s: float
    limit_share: float | None


@dataclass(frozen=True, slots=True)
class ThreadTime:
    """busy_ms + barrier_ms + idle_ms are the step; idle: not in the Program, waking up and the plan of the step."""

    thread: int
    busy_ms: float
    barrier_ms: float
    idle_ms: float


@dataclass(frozen=True, slots=True)
class StepProfile:
    """The step of median duration among `repeats`. kv_len: keys of each sequence once the step is done."""

    kind: str
    batch: int
    tokens: int
    kv_len: int
    repeats: int
    step_ms: float
    tokens_per_s: float
    operations: tuple[OperationTime, ...]
    threads: tuple[ThreadTime, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A step to run: `batch` sequences of `query_len` tokens each after `past_len` that the cache holds."""

    kind: str
    batch: int
    query_len: int
    past_len: int

    @property
    def kv_len(self) -> int:
        return self.past_len + self.query_len

    @property
    def tokens(self) -> int:
        return self.batch * self.query_len


@dataclass(frozen=True, slots=True)
class Entry:
    """One call with what it cost, before calls alike are added up. unit: the field of Limits its products run at."""

    name: str
    spent: "Spent"
    cost: "Cost"
    unit: str | None


@click.command(epilog=EPILOG)
@click.argument("model", default=DEFAULT_MODEL)
@click.option(
    "--prefill",
    type=click.IntRange(min=0, max=MAX_STEP_TOKENS),
    default=512,
    show_default=True,
    metavar="N",
    help="Tokens of each prompt read in one step; 0 leaves that step out.",
)
@click.option(
    "--decode",
    type=click.IntRange(min=0),
    default=512,
    show_default=True,
    metavar="M",
    help="Tokens each sequence has before the one that is decoded.",
)
@click.option("--no-decode", is_flag=True, help="Leave the decode step out.")
@click.option(
    "--batch",
    type=click.IntRange(min=1, max=4096),
    default=1,
    show_default=True,
    metavar="B",
    help="Sequences in a step.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1, max=10_000),
    default=7,
    show_default=True,
    metavar="R",
    help="Steps of each kind; the one of median duration is shown.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Compute threads.  [default: all allowed]")
@click.option(
    "--kv-dtype",
    type=click.Choice(["int8", "int16", "bf16", "f16", "f32"]),
    help="How keys and values are kept.  [default: int8 beside quantised weights, else int16]",
)
@click.option("--isa", metavar="NAME", help="Instruction set, as `wayra info` names them.  [default: the best]")
@click.option(
    "--limits",
    "limits_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Limits of this machine, for the share of each that is reached.  [default: measured]",
)
@json_option
@click.pass_obj
def profile(settings: Settings, model: str, as_json: bool, **options: Any) -> None:
    """Show where the time of a step of MODEL goes: by operation, and by thread with its waiting at barriers.

    Runs a prefill and a decode step on the native backend. Rates are operations and bytes by the cost model over the
    time of the work. Reading the clock costs two readings a call and thread, below one per cent of a step.
    """
    given = read_limits(options["limits_file"]) if options["limits_file"] else None
    shapes = _shapes(options)
    loaded = _Loaded.load(model, settings, options, shapes)
    try:
        limits = given or measured_limits(loaded.model.memory().weights_bytes, loaded.isa, loaded.model.options.threads)
        found = [loaded.run(shape, options["repeats"], limits) for shape in shapes]
    finally:
        loaded.model.close()
    isa, kv_dtype = loaded.isa, loaded.model.options.kv_dtype
    result = {"model": model, "isa": isa, "kv_dtype": kv_dtype, "limits": limits, "steps": found}
    emit(result, as_json, lambda: _print(settings, f"{printable(model)}, {isa}, KV {kv_dtype}", found))


def measured_limits(weights_bytes: int, isa: str, threads: int | None) -> Limits:
    """What the machine allows now. Raises BackendError, OutOfMemory."""
    from wayra.backends.native.peaks import measure_peaks

    note("measuring what the machine allows ...")
    return Limits(**asdict(measure_peaks(weights_bytes, threads, isa)))


def read_limits(path: Path) -> Limits:
    """Raises InvalidParameter naming the file and what is wrong with it."""
    known = ", ".join(field.name for field in fields(Limits))
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(MAX_LIMITS_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidParameter(f"{path} cannot be read as JSON ({error}); give an object with any of {known}") from None
    if not isinstance(told, dict):
        raise InvalidParameter(f"{path} holds no JSON object; give one with any of {known}")
    rates: dict[str, float] = {}
    for name, value in told.items():
        if name not in {field.name for field in fields(Limits)}:
            raise InvalidParameter(f"{path} has {name!r}, which is no limit; expected {known}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
            raise InvalidParameter(f"{name} in {path} is {value!r}; expected a rate above 0")
        rates[str(name)] = float(value)
    return Limits(**rates)


def _shapes(options: dict[str, Any]) -> list[Shape]:
    batch = options["batch"]
    found: list[Shape] = []
    if options["prefill"]:
        found.append(Shape("prefill", batch, options["prefill"], 0))
    if not options["no_decode"]:
        found.append(Shape("decode", batch, 1, options["decode"]))
    if not found:
        raise InvalidParameter("neither a prefill nor a decode step is left; give --prefill N or drop --no-decode")
    if max(shape.tokens for shape in found) > MAX_STEP_TOKENS:
        most = max(shape.tokens for shape in found)
        raise InvalidParameter(f"a step of {most:,} tokens; at most {MAX_STEP_TOKENS:,} are run at once")
    return found


class _Loaded:
    """A model with a cache for the largest of the steps, and the costs of its calls."""

    def __init__(self, model: "NativeModel", program: Any, bits: dict[str, float], units: dict[str, str]) -> None:
        self.model, self._program, self._bits, self._units = model, program, bits, units
        self.isa = ""

    @classmethod
    def load(cls, name: str, settings: Settings, options: dict[str, Any], shapes: Sequence[Shape]) -> "_Loaded":
        from wayra.backends.api import KV_BLOCK_LEN, BackendOptions
        from wayra.backends.native.backend import NativeBackend
        from wayra.backends.native.isa import choose_isa
        from wayra.llm.memory import kv_dtype_beside
        from wayra.model.record import record
        from wayra.weights.loader import load_weights, model_spec, open_checkpoint
        from wayra.weights.packed_cache import default_root
        from wayra.weights.sources import resolve

        wanted = options["isa"] or settings.isa
        isa = choose_isa(wanted).isa
        checkpoint = open_checkpoint(resolve(name, settings, offline=settings.hub_offline).path)
        try:
            spec = model_spec(checkpoint)
            longest = max(shape.kv_len for shape in shapes)
            if longest > spec.context_len:
                raise InvalidParameter(f"{longest:,} tokens of a sequence; the model takes {spec.context_len:,}")
            weights = load_weights(checkpoint, spec)
            backend_options = BackendOptions(
                max_step_tokens=max(shape.tokens for shape in shapes),
                max_step_seqs=max(shape.batch for shape in shapes),
                kv_dtype=options["kv_dtype"] or kv_dtype_beside(weights),
                threads=options["threads"] or settings.threads,
                isa=wanted,
            )
            note(f"loading {name} ...")
            program = record(spec)
            model = NativeBackend(default_root(settings)).load(program, weights, backend_options)
            bits = {
                slot: 8 * sum(part.tensor.data.nbytes for part in weight.parts) / (weight.rows * weight.cols)
                for slot, weight in weights.matrices.items()
            }
            units = {slot: _unit_of(weight.parts[0].tensor.fmt.name) for slot, weight in weights.matrices.items()}
        finally:
            checkpoint.close()
        loaded = cls(model, program, bits, units)
        loaded.isa = isa
        _fill_kv(model, max(shape.batch * -(-shape.kv_len // KV_BLOCK_LEN) for shape in shapes))
        return loaded

    def run(self, shape: Shape, repeats: int, limits: Limits) -> StepProfile:
        """One step to warm up, then `repeats` measured ones."""
        batch = _batch(shape, self.model.spec.vocab_size)
        self.model.step(batch)
        all_times = [self.model.profile_step(batch)[1] for _ in range(repeats)]
        median_ns = statistics.median_low(times.wall_ns for times in all_times)
        times = next(times for times in all_times if times.wall_ns == median_ns)
        return summarise(shape, repeats, times, self._entries(shape, times), limits)

    def _entries(self, shape: Shape, times: "StepTimes") -> list[Entry]:
        from wayra.model.cost import Cost, call_costs, step_size

        kv_dtype = self.model.options.kv_dtype
        kv_lens = [shape.kv_len] * shape.batch
        step = step_size(shape.tokens, shape.batch, kv_lens, kv_dtype)
        costs = call_costs(self._program, step, self._bits)
        entries = [Entry("rotary angles", times.rotary, Cost(), None)]
        entries += [
            Entry(operation_name(call), spent, cost, self._unit(call, kv_dtype))
            for call, spent, cost in zip(self._program.calls, times.calls, costs, strict=True)
        ]
        return [*entries, Entry("sampling", times.sampling, Cost(), None)]

    def _unit(self, call: "Call", kv_dtype: str) -> str | None:
        if call.op in {"linear", "logits"}:
            return self._units[str(call.weights[0])]
        if call.op == "attention":
            if kv_dtype == "int8":
                return "int8_gop_s"
            # Integers of sixteen bits are multiplied two at a time, as bfloat16 is where there are units for it.
            is_wide = kv_dtype == "int16" or (kv_dtype == "bf16" and self.isa == "avx512_bf16")
            return "bf16_gop_s" if is_wide else "f32_gop_s"
        return None


def _unit_of(fmt: str) -> str:
    """The limit of products with weights of a format. Those of float16 are integers, two as wide as one of float32."""
    return {"F32": "f32_gop_s", "F16": "bf16_gop_s", "BF16": "bf16_gop_s"}.get(fmt, "int8_gop_s")


def _fill_kv(model: "NativeModel", num_blocks: int) -> None:
    """Memory that was never written is one page of zeros, read from the caches: write every block."""
    import numpy as np

    model.allocate_kv(num_blocks)
    zeros = np.zeros((1, model.kv_bytes_per_block()), np.uint8)
    for block in range(num_blocks):
        model.write_kv(np.array([block], np.int32), zeros)


def operation_name(call: "Call") -> str:
    """An operation with the kind of its first weight, whatever the layer: "linear qkv"."""
    slot = call.weights[0] if call.weights else None
    if slot is None or call.op in {"embed", "rope_store"}:
        return call.op
    return f"{call.op} {_LAYER.sub('', slot)}"


def _batch(shape: Shape, vocab_size: int) -> "StepBatch":
    import numpy as np

    from wayra.backends.api import KV_BLOCK_LEN, StepBatch

    blocks = -(-shape.kv_len // KV_BLOCK_LEN)
    ids = np.random.default_rng(0).integers(0, vocab_size, shape.tokens)
    starts = np.arange(0, shape.tokens + 1, shape.query_len, dtype=np.int32)
    return StepBatch(
        token_ids=ids.astype(np.int32),
        positions=np.tile(np.arange(shape.past_len, shape.kv_len, dtype=np.int32), shape.batch),
        query_starts=starts,
        kv_lens=np.full(shape.batch, shape.kv_len, np.int32),
        block_tables=np.arange(shape.batch * blocks, dtype=np.int32).reshape(shape.batch, blocks),
        logit_rows=starts[1:] - 1,
        sampling=_greedy(shape.batch),
    )


def _greedy(rows: int) -> Any:
    import numpy as np

    from wayra.backends.api import SamplingBatch

    def each(value: float, dtype: type = np.float32) -> Any:
        return np.full(rows, value, dtype)

    none, starts, draws = np.zeros(0, np.int32), np.zeros(rows + 1, np.int32), each(0, np.uint64)
    return SamplingBatch(
        temperature=each(0), top_k=each(0, np.int32), top_p=each(1), min_p=each(0), seeds=draws, draws=draws,
        repetition_penalty=each(1), presence_penalty=each(0), frequency_penalty=each(0), history_starts=starts,
        history_ids=none, history_counts=none, bias_starts=starts, bias_ids=none,
        bias_values=np.zeros(0, np.float32), allowed=None, num_logprobs=0,
    )  # fmt: skip


def summarise(shape: Shape, repeats: int, times: "StepTimes", entries: Sequence[Entry], limits: Limits) -> StepProfile:
    """Add up calls of one name, in the order they first come."""
    total = times.total()
    names = list(dict.fromkeys(entry.name for entry in entries))
    busy_ms = float(total.work_ns.mean()) / 1e6
    operations = [_operation(name, [e for e in entries if e.name == name], busy_ms, limits) for name in names]
    threads = [
        ThreadTime(i, int(work) / 1e6, int(wait) / 1e6, max(0.0, (times.wall_ns - int(work) - int(wait)) / 1e6))
        for i, (work, wait) in enumerate(zip(total.work_ns, total.wait_ns, strict=True))
    ]
    step_s = times.wall_ns / 1e9
    return StepProfile(
        shape.kind, shape.batch, shape.tokens, shape.kv_len, repeats, step_s * 1e3, shape.tokens / step_s,
        tuple(operations), tuple(threads),
    )  # fmt: skip


def _operation(name: str, entries: Sequence[Entry], step_busy_ms: float, limits: Limits) -> OperationTime:
    busy_ms = sum(float(entry.spent.work_ns.mean()) for entry in entries) / 1e6
    wait_ms = sum(float(entry.spent.wait_ns.mean()) for entry in entries) / 1e6
    ops = sum(entry.cost.flops for entry in entries)
    moved_bytes = sum(entry.cost.memory_bytes for entry in entries)
    least_s = _sum_known(_least_s(entry, limits) for entry in entries)
    rate = 1e3 / busy_ms if busy_ms else 0.0
    return OperationTime(
        name, len(entries), busy_ms, wait_ms, busy_ms / step_busy_ms if step_busy_ms else 0.0, ops / 1e9,
        moved_bytes / 1e6, ops / 1e9 * rate, moved_bytes / 1e9 * rate,
        None if least_s is None else least_s * rate,
    )  # fmt: skip


def _least_s(entry: Entry, limits: Limits) -> float | None:
    """Seconds the machine takes at least for one call; None when a rate it needs is unknown."""
    if entry.unit is None:
        return None
    products: float | None = getattr(limits, entry.unit)
    if products is None or limits.read_gb_s is None:
        return None
    return max(entry.cost.flops / products, entry.cost.memory_bytes / limits.read_gb_s) / 1e9


def _sum_known(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _print(settings: Settings, what: str, steps: Sequence[StepProfile]) -> None:
    from rich.table import Table

    print_line(what)
    console = make_console(settings)
    for step in steps:
        print_line(
            f"\n{step.kind}: {step.batch} x {step.tokens // step.batch:,} tokens, {step.kv_len:,} keys each, "
            f"{step.step_ms:,.3f} ms, {step.tokens_per_s:,.1f} tokens/s (median of {step.repeats})"
        )
        table = Table(box=None, pad_edge=False)
        table.add_column("operation", no_wrap=True)
        with_limits = any(op.limit_share is not None for op in step.operations)
        heads = ["calls", "busy ms", "share", "barriers ms", "Gop/s", "GB/s"] + ["of limit"] * with_limits
        for head in heads:
            table.add_column(head, justify="right")
        for op in step.operations:
            cells = [str(op.calls), f"{op.busy_ms:,.3f}", f"{op.share:.1%}", f"{op.wait_ms:,.3f}"]
            cells += [_rate(op.gop_s), _rate(op.gb_s)]
            cells += ["" if op.limit_share is None else f"{op.limit_share:.0%}"] * with_limits
            table.add_row(op.name, *cells)
        console.print(table)
        threads = Table("thread", box=None, pad_edge=False)
        for head in ("busy ms", "barriers ms", "idle ms"):
            threads.add_column(head, justify="right")
        for t in step.threads:
            threads.add_row(str(t.thread), f"{t.busy_ms:,.3f}", f"{t.barrier_ms:,.3f}", f"{t.idle_ms:,.3f}")
        console.print(threads)


def _rate(value: float) -> str:
    return f"{value:,.1f}" if value else ""
