"""Prefill and decode of a model in this process, each alone: `pp512`, `tg128` as llama-bench names them."""

import time
from collections.abc import Callable

import numpy as np

from wayra.base.errors import InvalidParameter
from wayra.lab.bench.settings import BenchSettings
from wayra.lab.latency.record import RequestRecord, line_of
from wayra.lab.runs import RunWriter
from wayra.lab.targets import Ask, LocalTarget
from wayra.lab.traffic.arrivals import Arrivals
from wayra.lab.traffic.stage import Stage, record_of

OnProgress = Callable[[str, RequestRecord | None, int], None]


async def run_model(target: LocalTarget, settings: BenchSettings, run: RunWriter, on_progress: OnProgress) -> None:
    """Each length `repeats` times after a warm-up, with random ids. Raises InvalidParameter beyond the context."""
    limit = target.llm.context_len
    for length in (*settings.pp, *settings.tg):
        if length + 1 >= limit:
            raise InvalidParameter(
                f"a length of {length:,} tokens does not fit the context of {limit:,}; raise --context"
            )
    origin_s = time.perf_counter()
    run.set_facts(target=target.describe())
    sizes = [(f"pp{n}", n, 1) for n in settings.pp] + [(f"tg{n}", 1, n + 1) for n in settings.tg]
    for number, (name, prompt_len, answer_len) in enumerate(sizes):
        on_progress(name, None, settings.repeats)
        for index in range(-1, settings.repeats):
            is_warmup = index < 0
            if not is_warmup and f"{name}/{index:06d}" in run.completed:
                continue
            generator = np.random.default_rng([settings.seed, number, index + 1])
            vocab = target.llm.tokenizer.vocab_size
            ids = tuple(int(i) for i in generator.integers(min(1000, vocab // 2), vocab, prompt_len))
            ask = Ask(ids, answer_len)
            reply = await target.send(ask)
            stage = Stage(
                name,
                Arrivals(),
                (),
                lambda _index, ask=ask: (ask, None),
                is_warmup=is_warmup,
                session=len(run.header.resumed_utc),
                origin_s=origin_s,
            )
            record = record_of(reply, stage, (max(0, index), None), (ask, prompt_len))
            run.append(line_of(record))
            if not is_warmup:
                on_progress(name, record, settings.repeats)
