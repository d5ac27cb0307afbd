"""The program of a worker process: `python worker.py ENGINE CONFIG`; it serves one loaded engine.

Both engines answer the same calls, so that whoever compares them cannot treat one better than the other.
"""

import json
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = str(Path(__file__).parents[1])
sys.path.insert(0, BENCHMARKS)

from measuring.pipe import answer_channel, serve  # noqa: E402

# What an engine imports must not find our files: transformers asks whether there is a package `kernels`.
sys.path = [folder for folder in sys.path if folder not in (BENCHMARKS, str(Path(__file__).parent))]


def load(engine: str, config: dict[str, Any]) -> Any:
    if engine == "wayra":
        from measuring.wayra_engine import WayraEngine

        return WayraEngine(**config)
    if engine == "wayra_batches":
        from measuring.wayra_batches import WayraBatches

        return WayraBatches(**config)
    if engine != "llamacpp":
        from measuring.other_engines import OtherEngine

        return OtherEngine(engine, **config)
    from measuring.llamacpp_engine import LlamaCppEngine

    return LlamaCppEngine(**config)


def main() -> None:
    channel = answer_channel()
    engine = load(sys.argv[1], json.loads(sys.argv[2]))
    channel.write(json.dumps({"result": engine.facts}) + "\n")
    channel.flush()
    serve({name: getattr(engine, name) for name in engine.CALLS}, channel)


if __name__ == "__main__":
    main()
