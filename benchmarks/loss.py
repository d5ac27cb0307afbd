"""What int8 activations cost: perplexity and divergence from the same weights computed in floats, beside llama.cpp.

python benchmarks/loss.py --peer-python PEER/bin/python

The reference is wayra's native backend on a float32 copy of the file (weights decoded by the gguf package, activations
and KV cache in float32). Text, windows and scored tokens are those of `measuring.loss`. Ends in one line of JSON.
"""

import argparse
import contextlib
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path

from measuring.figures import markdown_table, write_section
from measuring.float_copy import write_float_copy
from measuring.loss import NUM_ROWS, TEXT_BYTES, WINDOW_LEN, Score, english_text, score, windows_of
from measuring.machine import describe_commit, describe_machine
from measuring.pipe import Worker, WorkerError

from wayra.base.settings import from_environment
from wayra.text.from_gguf import tokenizer_from_gguf
from wayra.weights.loader import open_checkpoint
from wayra.weights.sources import resolve

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
REFERENCE = "wayra, float32"


def text_windows(path: Path, num_bytes: int) -> list[list[int]]:
    checkpoint = open_checkpoint(path)
    tokenizer = tokenizer_from_gguf(checkpoint.metadata)
    checkpoint.close()
    bos_id = tokenizer.bos_id if tokenizer.add_bos else None
    return windows_of(tokenizer.encode(english_text(num_bytes)), bos_id)


def measure(path: Path, windows: list[list[int]], args: argparse.Namespace) -> dict[str, Score]:
    common = {"threads": args.threads, "context_len": WINDOW_LEN, "max_rows": NUM_ROWS}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as open_workers:
        copy = Path(scratch) / "float.gguf"
        write_float_copy(path, copy)
        exact = {**common, "path": str(copy), "kv_dtype": "f32", "packed_cache": False}
        stored = {**common, "path": str(path)}
        as_float = {**common, "path": str(copy)}
        workers = {
            REFERENCE: Worker(sys.executable, "wayra", exact),
            "wayra": Worker(sys.executable, "wayra", stored),
            "llama.cpp": Worker(args.peer_python, "llamacpp", stored),
            "llama.cpp, float32 copy": Worker(args.peer_python, "llamacpp", as_float),
        }
        for worker in workers.values():
            open_workers.enter_context(worker)
        return score(workers, windows, Path(scratch), REFERENCE)


def table(found: dict[str, Score]) -> str:
    base = found[REFERENCE].perplexity
    rows = [[REFERENCE, f"{base:.4f}", "reference", "reference", "reference", "reference"]]
    rows += [
        [
            name, f"{one.perplexity:.4f}", f"{one.perplexity / base - 1:+.3%}", f"{one.mean_divergence:.2e}",
            f"{one.divergence_quantile(0.99):.2e}", f"{one.same_top_share:.2%}",
        ]
        for name, one in found.items() if name != REFERENCE
    ]  # fmt: skip
    return markdown_table(["", "perplexity", "change", "mean KL", "KL, 99 %", "same first choice"], rows)


def json_line(found: dict[str, Score], facts: dict[str, object]) -> str:
    engines = {
        name: {"perplexity": one.perplexity}
        | ({"mean_kl": one.mean_divergence, "kl_p99": one.divergence_quantile(0.99), "same_top": one.same_top_share}
           if one.divergences else {})
        for name, one in found.items()
    }  # fmt: skip
    return json.dumps({"benchmark": "loss", **facts, "engines": engines})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2", help="any name wayra takes; it must be one GGUF file")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--bytes", type=int, default=TEXT_BYTES, help="of text")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that can import llama_cpp")
    parser.add_argument("--write-docs", action="store_true", help=f"put the result into {DOCUMENT.name}")
    args = parser.parse_args()
    path = resolve(args.model, from_environment()).path
    windows = text_windows(path, args.bytes)
    try:
        found = measure(path, windows, args)
    except WorkerError as error:
        sys.exit(f"loss: {error}")
    tokens = len(windows) * NUM_ROWS
    facts: dict[str, object] = {
        "machine": describe_machine(), "wayra": describe_commit(ROOT), "file": path.name,
        "text_bytes": args.bytes, "scored_tokens": tokens,
    }  # fmt: skip
    text = f"{args.bytes:,} bytes of text, {len(windows)} windows of {WINDOW_LEN}, {tokens:,} scored tokens"
    what = f"{path.name}, {text}"
    print(f"{what}\n\n{table(found)}\n\n{json_line(found, facts)}")
    if args.write_docs:
        command = "python benchmarks/loss.py --peer-python PEER/bin/python"
        head = f"Measured {datetime.date.today().isoformat()} by `{command}`"
        python = ".".join(map(str, sys.version_info[:3]))
        where = f"commit {facts['wayra']}, {facts['machine']}, Python {python}"
        write_section(DOCUMENT, "loss", f"{head}, {where}; {what}.\n\n{table(found)}")


if __name__ == "__main__":
    main()
