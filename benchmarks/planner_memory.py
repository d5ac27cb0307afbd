"""Whether the planner's memory is what the native engine takes: its peak after loading and filling the KV cache.

python benchmarks/planner_memory.py FILE.gguf:CONTEXT:BATCH:KV [...]      e.g. model.gguf:1024:4:bf16

Each case runs in a process of its own, twice: the first start packs the weights and keeps them, the second is measured
(the first also maps the file, whose pages the system takes back when it needs them). BATCH prompts fill the context.
Ends in one JSON line.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from wayra.llm.facade import LLM
from wayra.plan.hardware import hardware
from wayra.plan.memory import Request, fit
from wayra.plan.reading import describe
from wayra.plan.stored import kv_bits


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the system does not say how much memory this process took at most")


def use(path: str, context: int, batch: int, kv: str) -> None:
    """Load and fill; prints the peak."""
    from wayra import SamplingParams

    with LLM(path, context_len=context, max_batch=batch, kv_dtype=kv, speculate="off", prefix_cache=False) as llm:
        prompts = [[(7 * i + number) % 1000 + 10 for i in range(context - 1)] for number in range(batch)]
        llm.generate(prompts, SamplingParams(max_tokens=1, temperature=0.0))
        report = llm.memory()
    print(
        json.dumps({"peak": peak_bytes(), "report": [report.weights_bytes, report.kv_bytes, report.activation_bytes]})
    )


def case(text: str) -> dict[str, object]:
    path, context, batch, kv = text.rsplit(":", 3)
    described = describe(path)
    if described.stored is None:
        raise SystemExit(f"{path} holds no weights")
    # Only the kind of hardware matters for what is taken.
    found = fit(
        described.model, described.stored, hardware("cpu-server"), Request(int(batch), int(context), kv_bits(kv))
    )
    command = [sys.executable, __file__, "--use", path, context, batch, kv]
    seen: dict[str, object] = {}
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seen = json.loads(done.stdout.splitlines()[-1])
    peak = int(str(seen["peak"]))
    return {
        "case": f"{Path(path).name}, {context} x {batch}, {kv}",
        "predicted_mb": round(found.total.value / 1e6, 1),
        "peak_mb": round(peak / 1e6, 1),
        "error": round(found.total.value / peak - 1, 4),
        "parts_mb": [round(p.value / 1e6, 1) for p in (found.weights, found.kv, found.activations, found.runtime)],
        "engine_says_mb": [round(int(n) / 1e6, 1) for n in list(seen["report"])],  # type: ignore[call-overload]
    }


def main() -> None:
    if sys.argv[1:2] == ["--use"]:
        use(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
        return
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    results: list[dict[str, object]] = []
    for text in sys.argv[1:]:
        results.append(case(text))
        print(results[-1], flush=True)
    print(json.dumps({"at": datetime.now(tz=UTC).isoformat(timespec="seconds"), "cases": results}))


if __name__ == "__main__":
    main()
