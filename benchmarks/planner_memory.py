"""Whether the planner's memory is what the native engine takes: its peak after loading and filling the KV cache.

python benchmarks/planner_memory.py [--write] [MODEL:CONTEXT:BATCH:KV ...]     e.g. model.gguf:1024:4:bf16

MODEL is a file, or a name as `wayra run` takes it. Without cases: the default model, and models with random weights in
several shapes and formats, which are written to a temporary folder (1 GB; needs wayra[test]). Each case runs in two
processes: the first packs the weights and keeps them, the second is measured, while BATCH prompts fill their contexts
at once. --write puts the table into docs/plan.md. Peaks do not depend on what else the machine does. Ends in one JSON
line.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from measuring.figures import markdown_table, write_section
from random_model import Shape, write_model

from wayra.backends.native.isa import choose_threads
from wayra.base import formats
from wayra.base.settings import from_environment
from wayra.plan.hardware import hardware
from wayra.plan.memory import Fit, Request, fit
from wayra.plan.reading import describe
from wayra.plan.stored import kv_bits
from wayra.weights.sources.resolve import resolve

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "plan.md"
DEFAULT_MODEL = "smollm2"
BAR = 0.05
STEP_TOKENS = 512
VOCAB = 49_152
SHAPES = (
    ("random 0.23B, 4 KV heads of 16, Q8_0", Shape(12, 1024, 16, 4, 64, 4096, VOCAB, True, 1e4, 8192), formats.Q8_0),
    ("random 0.23B, 4 KV heads of 16, BF16", Shape(12, 1024, 16, 4, 64, 4096, VOCAB, True, 1e4, 8192), formats.BF16),
    ("random 0.17B, 12 KV heads of 12, Q4_0", Shape(16, 768, 12, 12, 64, 3072, VOCAB, True, 1e4, 8192), formats.Q4_0),
)
# (shape's place or the default model, context, batch, KV type)
CASES = (
    (None, 2048, 4, "bf16"),
    (0, 2048, 4, "bf16"),
    (1, 1024, 8, "bf16"),
    (2, 2048, 2, "f32"),
    (None, 8192, 1, "f16"),
)


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the system does not say how much memory this process took at most")


def use(path: str, context: int, batch: int, kv: str) -> None:
    """Load, fill, and print the peak. Answers are as long as it takes to read all prompts, so that none ends before."""
    from wayra import LLM, SamplingParams

    with LLM(path, context_len=context, max_batch=batch, kv_dtype=kv, speculate="off", prefix_cache=False) as llm:
        if batch:
            answer = min(context // 2, batch * context // STEP_TOKENS + 2 * batch)
            prompts = [[(7 * i + number) % 1000 + 10 for i in range(context - answer)] for number in range(batch)]
            llm.generate(prompts, SamplingParams(max_tokens=answer, temperature=0.0, ignore_eos=True))
        report = llm.memory()
    taken = [report.weights_bytes, report.kv_bytes, report.activation_bytes]
    print(json.dumps({"peak": peak_bytes(), "report": taken}))


def pack(path: str) -> None:
    """Load once, so that the packed weights are kept."""
    from wayra import LLM

    LLM(path, context_len=64, max_batch=1).close()


def predicted(path: str, context: int, batch: int, kv: str) -> Fit:
    described = describe(path)
    if described.stored is None:
        raise SystemExit(f"{path} holds no weights")
    # Of the hardware, only its kind and its threads matter for what is taken.
    here = replace(hardware("server-zen4"), cores=choose_threads(None))
    return fit(described.model, described.stored, here, Request(batch, context, kv_bits(kv)))


def case(name: str, path: str, context: int, batch: int, kv: str) -> dict[str, object]:
    found = predicted(path, context, batch, kv)
    here = [sys.executable, __file__]
    subprocess.run([*here, "--pack", path], capture_output=True, text=True, check=True)
    command = [*here, "--use", path, str(context), str(batch), kv]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    parts = (found.weights, found.kv, found.activations, found.runtime)
    return {
        "model": name,
        "context": context,
        "batch": batch,
        "kv": kv,
        "predicted_mb": round(found.total.value / 1e6, 1),
        "peak_mb": round(seen["peak"] / 1e6, 1),
        "error": round(found.total.value / seen["peak"] - 1, 4),
        "parts_mb": [round(part.value / 1e6, 1) for part in parts],
        "engine_says_mb": [round(count / 1e6, 1) for count in seen["report"]],
    }


def default_cases(folder: Path) -> list[tuple[str, str, int, int, str]]:
    settings = from_environment()
    default = resolve(DEFAULT_MODEL, settings).path
    made: dict[int, Path] = {}
    for i, (name, shape, fmt) in enumerate(SHAPES):
        made[i] = folder / f"random-{i}.gguf"
        write_model(name, shape, fmt, made[i])
    return [
        (DEFAULT_MODEL, str(default), context, batch, kv)
        if place is None
        else (SHAPES[place][0], str(made[place]), context, batch, kv)
        for place, context, batch, kv in CASES
    ]


def stated_cases(texts: list[str]) -> list[tuple[str, str, int, int, str]]:
    found: list[tuple[str, str, int, int, str]] = []
    for text in texts:
        name, context, batch, kv = text.rsplit(":", 3)
        path = resolve(name, from_environment()).path
        found.append((path.name, str(path), int(context), int(batch), kv))
    return found


def table(results: list[dict[str, object]]) -> str:
    head = ("Model", "context", "sequences", "KV", "predicted, MB", "peak, MB", "error")
    rows = [
        (
            str(row["model"]),
            f"{row['context']:,}",
            str(row["batch"]),
            str(row["kv"]),
            str(row["predicted_mb"]),
            str(row["peak_mb"]),
            f"{row['error']:+.1%}",
        )
        for row in results
    ]
    return markdown_table(head, rows)


def main() -> None:
    if sys.argv[1:2] == ["--use"]:
        use(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
        return
    if sys.argv[1:2] == ["--pack"]:
        pack(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="MODEL:CONTEXT:BATCH:KV")
    parser.add_argument("--write", action="store_true", help="put the table into docs/plan.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results: list[dict[str, object]] = []
        for one in stated_cases(options.cases) if options.cases else default_cases(Path(folder)):
            results.append(case(*one))
            print(results[-1], flush=True)
    print(table(results))
    if options.write:
        write_section(DOCUMENT, "planner_memory", table(results))
    worst = max(abs(float(str(row["error"]))) for row in results)
    at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    print(json.dumps({"at": at, "worst_error": worst, "bar": BAR, "cases": results}))


if __name__ == "__main__":
    main()
