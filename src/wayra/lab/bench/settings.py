"""What to measure: one frozen dataclass, kept in the run's config, so that a run can be repeated and resumed."""

import math
from dataclasses import dataclass
from typing import Literal

from wayra.base.errors import InvalidParameter
from wayra.lab.latency.slo import parse_slo
from wayra.lab.traffic.lengths import parse_lengths

Mode = Literal["model", "traffic"]


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """mode: "model" measures prefill and decode alone (pp, tg: lengths; repeats of each); "traffic" sends requests.

    concurrency: of closed loops, one stage each. rates: of open loops, one stage each; is_poisson: at random times.
    sweep: doubles the concurrency from 1 until the output rate gains little (up to max_concurrency).
    trace: a JSONL file to replay. measure_cache: send each prompt twice, in stages "cold" and "cached".
    num_requests, max_s: of each stage. warmup: requests before each stage, in no figure.
    served_model, api: of a server: its name for the model ("" is its first), the endpoint. running_usage, token_ids:
    whether usage or token ids are asked for in each chunk, so that its tokens are known. stall_s: a server that
    sends nothing for so long has failed that request.
    nonce: makes this run's prompts unlike any other's; prices are of a million tokens.
    """

    target: str
    mode: Mode = "traffic"
    pp: tuple[int, ...] = (512,)
    tg: tuple[int, ...] = (128,)
    repeats: int = 5
    concurrency: tuple[int, ...] = (1,)
    rates: tuple[float, ...] = ()
    is_poisson: bool = False
    sweep: bool = False
    max_concurrency: int = 64
    num_requests: int = 32
    max_s: float | None = None
    warmup: int = 2
    prompt: str = "256"
    answer: str = "64"
    shared_prefix_len: int = 0
    num_groups: int = 1
    trace: str | None = None
    measure_cache: bool = False
    ignore_eos: bool = True
    slo: str | None = None
    seed: int = 0
    nonce: str = ""
    served_model: str = ""
    api: Literal["completions", "chat"] = "completions"
    running_usage: bool = False
    token_ids: bool = False
    stall_s: float = 120.0
    input_price: float | None = None
    output_price: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("model", "traffic"):
            raise InvalidParameter(f"mode is {self.mode!r}, expected model or traffic")
        parse_lengths(self.prompt)
        parse_lengths(self.answer)
        if self.slo is not None:
            parse_slo(self.slo)
        for name, low, high in (
            ("repeats", 1, 10_000), ("num_requests", 1, 10_000_000), ("warmup", 0, 100_000),
            ("max_concurrency", 1, 100_000), ("num_groups", 1, 1_000_000), ("shared_prefix_len", 0, 1 << 20),
            ("seed", 0, 2**63 - 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidParameter(f"{name} is {value}, expected {low:,} to {high:,}")
        if any(not 1 <= n <= 100_000 for n in self.concurrency):
            raise InvalidParameter("a concurrency is outside 1 to 100,000")
        if any(not 1e-6 <= rate <= 1e6 for rate in self.rates):
            raise InvalidParameter("a rate is outside 0.000001 to 1,000,000 requests per second")
        if any(not 1 <= n <= 1 << 20 for n in (*self.pp, *self.tg)):
            raise InvalidParameter("a length of --pp or --tg is outside 1 to 1,048,576 tokens")
        if not 0.01 <= self.stall_s <= 86_400:
            raise InvalidParameter(f"the time of a silent server is {self.stall_s} s, expected 0.01 to 86,400")
        if self.max_s is not None and not 0 < self.max_s < math.inf:
            raise InvalidParameter(f"the time of a stage is {self.max_s} s, expected more than 0")
        if sum((self.sweep, self.trace is not None, self.measure_cache, bool(self.rates))) > 1:
            raise InvalidParameter("a sweep, a trace, rates and the cache are measured one at a time; choose one")
