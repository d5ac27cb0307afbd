"""Reads a result file of `vllm bench serve` or guidellm into a new run."""

import hashlib
from pathlib import Path

import msgspec

from wayra.base.errors import RunError
from wayra.lab.importers.guidellm import records_from_guidellm
from wayra.lab.importers.vllm import records_from_vllm
from wayra.lab.latency.definitions import DEFINITIONS
from wayra.lab.latency.record import line_of
from wayra.lab.runs import Run, RunFacts, RunStore

MAX_FILE_BYTES = 4 * 1024**3


def import_file(store: RunStore, path: Path) -> Run:
    """Make a run of a result file, whichever tool wrote it. Raises RunError saying what the file lacks."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RunError(f"{path} has more than {MAX_FILE_BYTES:,} bytes")
        content = path.read_bytes()
        found = msgspec.json.decode(content)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunError(f"{path} is no JSON: {error}; give what the tool saved") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is no result of vllm bench or guidellm: expected a JSON object")
    if "benchmarks" in found:
        tool, records = "guidellm", records_from_guidellm(content, path)
    elif "completed" in found:
        tool, records = "vllm bench serve", records_from_vllm(content, path)
    else:
        raise RunError(f"{path} has neither `benchmarks` (guidellm) nor `completed` (vllm bench serve)")
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    facts = RunFacts(f"{path.name} of {tool}", DEFINITIONS, hashes={"imported": digest})
    with store.create("bench", {"mode": "traffic", "target": path.name, "imported_from": tool}, facts) as run:
        for record in records:
            run.append(line_of(record))
        run.note(f"imported from {tool}; the machine named here read the file, it need not have measured")
        run.finish()
    return store.open(run.id)
