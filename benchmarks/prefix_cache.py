"""What stored prefixes save and cost: time to first token of a long prompt, cold and after a restart, alternated.

python benchmarks/prefix_cache.py [--model NAME] [--tokens 4096] [--rounds 5]

Each measurement is a process of its own. Cold: the folder is empty, and what is computed is written. Off: nothing is
read or written. Warm: the folder holds the prompt. Ends in one line of JSON.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ANSWER_TOKENS = 128


def measure(model: str, num_tokens: int, disk_mb: int) -> dict[str, float | list[int]]:
    """One answer in this process, whose settings come from the environment but for the folder on disk."""
    from dataclasses import replace

    from wayra.base.settings import from_environment
    from wayra.llm import LLM, SamplingParams

    folder = Path(sys.argv[-1])
    settings = from_environment()
    # Packed weights stay where they are; only the prefixes are moved.
    packed, moved = settings.cache_dir, folder
    moved.mkdir(exist_ok=True)
    for entry in packed.iterdir() if packed.exists() else ():
        if entry.name != "prefixes" and not (moved / entry.name).exists():
            (moved / entry.name).symlink_to(entry)
    with LLM(model, settings=replace(settings, cache_dir=moved), prefix_disk_mb=disk_mb, speculate="off") as llm:
        llm.generate(["warm up"], SamplingParams(max_tokens=4, temperature=0))
        rng = random.Random(1)
        prompt = [rng.randrange(1000, 20_000) for _ in range(num_tokens)]
        params = SamplingParams(max_tokens=ANSWER_TOKENS, temperature=0, ignore_eos=True)
        started = time.perf_counter()
        (completion,) = llm.generate([prompt], params)
        total_s = time.perf_counter() - started
        closing = time.perf_counter()
    timings = completion.timings
    return {
        "ttft_s": timings.ttft_s or total_s,
        "decode_tokens_per_s": timings.decode_tokens_per_s or 0.0,
        "cached_tokens": completion.usage.cached_tokens,
        "close_s": time.perf_counter() - closing,
        "token_ids": list(completion.token_ids),
    }


def run_once(args: argparse.Namespace, disk_mb: int, folder: Path) -> dict[str, float | list[int]]:
    command = [sys.executable, __file__, "--model", args.model, "--tokens", str(args.tokens), "--worker", str(disk_mb)]
    done = subprocess.run([*command, str(folder)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        print(json.dumps(measure(args.model, args.tokens, args.worker)))
        return
    found: dict[str, list[dict[str, float | list[int]]]] = {"off": [], "cold": [], "warm": []}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            found["off"].append(run_once(args, 0, Path(folder)))
            found["cold"].append(run_once(args, 4096, Path(folder)))
            found["warm"].append(run_once(args, 4096, Path(folder)))
    answers = {tuple(result["token_ids"]) for results in found.values() for result in results}  # type: ignore[arg-type]
    if len(answers) != 1:
        sys.exit("prefix_cache: the answers differ")
    result: dict[str, object] = {"model": args.model, "tokens": args.tokens, "rounds": args.rounds}
    for kind, results in found.items():
        for key in ("ttft_s", "decode_tokens_per_s", "cached_tokens", "close_s"):
            result[f"{kind}_{key}"] = statistics.median(float(r[key]) for r in results)  # type: ignore[arg-type]
    pairs = list(zip(found["off"], found["cold"], found["warm"], strict=True))
    result["warm_over_off"] = statistics.median(w["ttft_s"] / o["ttft_s"] for o, _, w in pairs)  # type: ignore[operator]
    result["writing_over_off"] = statistics.median(c["ttft_s"] / o["ttft_s"] for o, c, _ in pairs)  # type: ignore[operator]
    for key, value in result.items():
        print(f"{key:<26} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
