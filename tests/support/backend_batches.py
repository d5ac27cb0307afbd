"""Step batches made by hand, and a model's logits of a whole prompt in chunks: what tests of backends share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wayra.backends.api import KV_BLOCK_LEN, Backend, BackendOptions, Model, SamplingBatch, StepBatch
from wayra.model.record import record
from wayra.weights.loader import load_weights, model_spec, open_checkpoint


def int32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def chunk_batch(token_ids: np.ndarray, start: int, stop: int, blocks: Sequence[int], **extra: object) -> StepBatch:
    """Tokens start..stop of one sequence, logits wanted for each of them."""
    count = stop - start
    return StepBatch(
        token_ids=np.ascontiguousarray(token_ids[start:stop], dtype=np.int32),
        positions=np.arange(start, stop, dtype=np.int32),
        query_starts=int32(0, count),
        kv_lens=int32(stop),
        block_tables=int32(*blocks)[None],
        logit_rows=np.arange(count, dtype=np.int32),
        **{"return_logits": True, **extra},
    )


def prompt_logits(model: Model, token_ids: np.ndarray, chunks: Sequence[int] = ()) -> np.ndarray:
    """Logits [tokens, vocab] of one sequence, computed in steps that end at `chunks` and at the prompt's end."""
    num_blocks = -(-len(token_ids) // KV_BLOCK_LEN)
    model.allocate_kv(num_blocks + 1)
    # Not in order and not from 0, so that a backend must look into the table.
    blocks = list(range(num_blocks, 0, -1))
    found: list[np.ndarray] = []
    start = 0
    for stop in (*chunks, len(token_ids)):
        logits = model.step(chunk_batch(token_ids, start, stop, blocks)).logits
        assert logits is not None
        found.append(np.array(logits))
        start = stop
    return np.concatenate(found)


def load_folder(folder: Path, backend: Backend, options: BackendOptions) -> Model:
    """A checkpoint folder, loaded. The mapped file stays open as long as the process: folders here are tiny."""
    checkpoint = open_checkpoint(folder)
    spec = model_spec(checkpoint)
    return backend.load(record(spec), load_weights(checkpoint, spec), options)


def sampling(num_rows: int, **changed: object) -> SamplingBatch:
    """Greedy for every row, with nothing biased, penalised or masked; `changed` replaces whole arrays or scalars."""
    floats = {"temperature": 0.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    floats |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
    arrays: dict[str, object] = {name: np.full(num_rows, value, np.float32) for name, value in floats.items()}
    arrays["top_k"] = np.zeros(num_rows, np.int32)
    arrays["seeds"], arrays["draws"] = np.zeros(num_rows, np.uint64), np.zeros(num_rows, np.uint64)
    for name in ("history", "bias"):
        arrays[f"{name}_starts"] = np.zeros(num_rows + 1, np.int32)
        arrays[f"{name}_ids"] = int32()
    arrays["history_counts"], arrays["bias_values"] = int32(), np.zeros(0, np.float32)
    arrays["allowed"], arrays["num_logprobs"] = None, 0
    for name, value in changed.items():
        old = arrays[name]
        arrays[name] = (
            np.full(num_rows, value, old.dtype) if isinstance(old, np.ndarray) and np.isscalar(value) else value
        )
    return SamplingBatch(**arrays)  # type: ignore[arg-type]
