"""What speculation gains, and what it costs when no guess is right: the same engine with it and without, in turns.

python benchmarks/speculate.py [--model NAME] [--repeats N]

Every run is a new engine on the same loaded model, so nothing learned in one helps the next. Only decoding is timed:
from the first token of an answer to its last. Tokens are compared too: they have to be the same. The draft model is
the model itself, the only one of its vocabulary that is small: its acceptance is an upper bound, and as it takes as
long as the model it guesses for, it is rightly asked for nothing unless it is told to cost nothing ("forced").
Prints one table and ends in one line of JSON.
"""

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring.figures import Spread, markdown_table, paired_ratios, spread, write_section
from measuring.machine import LoadMeter, describe_commit, describe_machine, wait_for_quiet
from measuring.speculation_prompts import PROMPTS

from wayra.backends.api import BackendOptions, Model
from wayra.backends.native.backend import NativeBackend
from wayra.base.settings import from_environment
from wayra.engine.engine import Engine
from wayra.engine.request import Request, SamplingParams
from wayra.engine.sequence import Sequence as EngineSequence
from wayra.engine.settings import EngineSettings
from wayra.engine.speculate.draft_model import DraftModel
from wayra.engine.speculate.drafter import Drafter
from wayra.llm.prompts import PromptReader
from wayra.llm.tokenizers import load_template, load_tokenizer
from wayra.model.record import record
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.packed_cache import default_root
from wayra.weights.sources import resolve

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
MAX_CONTEXT = 2048
TEMPERATURE = 0.7


class WrongDrafter:
    """Knows the answers and guesses anything else: each guess is wrong."""

    priors: Sequence[float] = (0.9,)
    depth_s = 0.0

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self._answers = answers

    def prospects(self, seqs: Sequence[EngineSequence]) -> list[Sequence[int]]:
        return [(0,) * 15 for _ in seqs]

    def draft(self, asked: Sequence[tuple[EngineSequence, int]]) -> list[list[int]]:
        return [[self._next(seq) ^ 1] * num_tokens for seq, num_tokens in asked]

    def forget(self, seq: EngineSequence) -> None:
        pass

    def _next(self, seq: EngineSequence) -> int:
        answer = self._answers[int(seq.id)]
        return answer[min(len(answer) - 1, len(seq.token_ids) - seq.prompt_len)]


class FreeDraftModel(DraftModel):
    """Says that it costs nothing, so that its guesses are counted even where they do not pay."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, 0.0 if name == "depth_s" else value)


@dataclass(frozen=True, slots=True)
class Run:
    """decode_s: from the first step after all have begun to the last. tokens: of each request."""

    decode_s: float
    decoded: int
    tokens: tuple[tuple[int, ...], ...]
    drafted: int
    accepted: int

    @property
    def tokens_per_s(self) -> float:
        return self.decoded / self.decode_s


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. prompts: answered together when is_batch, else one after the other."""

    name: str
    prompts: Sequence[tuple[int, ...]]
    params: SamplingParams
    speculate: str = "lookup"
    is_batch: bool = False
    drafter: Callable[[Sequence[Sequence[int]]], Drafter] | None = None


def run_together(model: Model, prompts: Sequence[tuple[int, ...]], params: SamplingParams, settings: EngineSettings,
                 drafter: Drafter | None) -> Run:  # fmt: skip
    """Answer the prompts side by side."""
    engine = Engine(model, settings, drafter=drafter)
    for number, prompt in enumerate(prompts):
        engine.add(Request(str(number), prompt, params))
    answers: list[list[int]] = [[] for _ in prompts]
    waiting = len(prompts)
    started_s, before = 0.0, 0
    while engine.has_work():
        outputs = engine.step()
        for output in outputs:
            waiting -= not answers[int(output.request_id)]
            answers[int(output.request_id)] += output.token_ids
        if waiting == 0 and not before:
            started_s, before = time.perf_counter(), sum(map(len, answers))
    decode_s = time.perf_counter() - started_s
    metrics = engine.metrics()
    decoded = sum(map(len, answers)) - before
    return Run(decode_s, decoded, tuple(map(tuple, answers)), metrics.drafted_tokens, metrics.accepted_tokens)


def run_case(model: Model, case: Case, speculate: str, answers: Sequence[Sequence[int]]) -> Run:
    """All prompts of a case, together or one after the other."""
    settings = EngineSettings(max_context=MAX_CONTEXT, prefix_cache=False, speculate=speculate)
    groups = [list(case.prompts)] if case.is_batch else [[prompt] for prompt in case.prompts]
    runs: list[Run] = []
    for group in groups:
        known = answers[len([t for run in runs for t in run.tokens]) :]
        drafter = case.drafter(known) if case.drafter is not None and speculate == "draft" else None
        runs.append(run_together(model, group, case.params, settings, drafter))
    return Run(
        decode_s=sum(run.decode_s for run in runs),
        decoded=sum(run.decoded for run in runs),
        tokens=tuple(tokens for run in runs for tokens in run.tokens),
        drafted=sum(run.drafted for run in runs),
        accepted=sum(run.accepted for run in runs),
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """ratio: tokens/s with over those without, run by run. drafted, accepted: shares of the answers' tokens."""

    plain: Spread
    speculative: Spread
    ratio: Spread
    drafted_share: float
    accepted_share: float
    acceptance: float

    def row(self, name: str) -> list[str]:
        return [
            name, self.plain.shown(), self.speculative.shown(), self.ratio.shown(2), f"{self.accepted_share:.0%}",
            f"{self.acceptance:.0%}",
        ]  # fmt: skip


def measure(model: Model, case: Case, repeats: int) -> Figures:
    """Plain and speculative runs in turns. Exits when their tokens differ."""
    expected = run_case(model, case, "off", ()).tokens
    plain: list[Run] = []
    speculative: list[Run] = []
    for repeat in range(repeats):
        order = ("off", case.speculate) if repeat % 2 == 0 else (case.speculate, "off")
        for speculate in order:
            run = run_case(model, case, speculate, expected)
            if run.tokens != expected:
                sys.exit(f"speculate: {case.name}: the tokens with speculation {speculate!r} differ")
            (plain if speculate == "off" else speculative).append(run)
    decoded = sum(run.decoded for run in speculative)
    drafted, accepted = sum(run.drafted for run in speculative), sum(run.accepted for run in speculative)
    return Figures(
        plain=spread([run.tokens_per_s for run in plain]),
        speculative=spread([run.tokens_per_s for run in speculative]),
        ratio=paired_ratios([run.tokens_per_s for run in speculative], [run.tokens_per_s for run in plain]),
        drafted_share=drafted / decoded,
        accepted_share=accepted / decoded,
        acceptance=accepted / drafted if drafted else 0.0,
    )


def cases(prompts: dict[str, list[tuple[int, ...]]], draft: Model, max_tokens: int) -> list[Case]:
    greedy = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    sampled = SamplingParams(temperature=TEMPERATURE, seed=1, max_tokens=max_tokens, ignore_eos=True)
    # Hot enough that the text is random: nothing in it can be guessed.
    random_text = SamplingParams(temperature=3.0, seed=1, max_tokens=max_tokens, ignore_eos=True)
    everything = [prompt for group in prompts.values() for prompt in group]
    vocab_size = draft.spec.vocab_size
    blocks = 9 * MAX_CONTEXT // 32

    def own_draft(_: Sequence[Sequence[int]]) -> Drafter:
        return DraftModel(draft, vocab_size, blocks, 9, MAX_CONTEXT)

    def free_draft(_: Sequence[Sequence[int]]) -> Drafter:
        return FreeDraftModel(draft, vocab_size, blocks, 9, MAX_CONTEXT)

    found = [Case(f"{name}, greedy", group, greedy) for name, group in prompts.items()]
    found += [Case(f"{name}, temperature {TEMPERATURE}", group, sampled) for name, group in prompts.items()]
    found += [
        Case("all nine at once, greedy", everything, greedy, is_batch=True),
        Case("random text: nothing to look up", prompts["chat"], random_text),
        Case("every guess wrong, one request", prompts["chat"], greedy, "draft", drafter=WrongDrafter),
        Case("every guess wrong, all nine at once", everything, greedy, "draft", True, WrongDrafter),
        Case("itself as draft model", prompts["chat"], greedy, "draft", drafter=own_draft),
        Case("itself as draft model, forced, greedy", prompts["chat"], greedy, "draft", drafter=free_draft),
        Case(f"the same, temperature {TEMPERATURE}", prompts["chat"], sampled, "draft", drafter=free_draft),
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2", help="any name wayra takes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS", help="wait so long for a quiet machine")
    parser.add_argument("--write-docs", action="store_true", help=f"put the result into {DOCUMENT.name}")
    args = parser.parse_args()
    settings = from_environment()
    path = resolve(args.model, settings).path
    checkpoint = open_checkpoint(path)
    spec = model_spec(checkpoint)
    tokenizer = load_tokenizer(checkpoint, settings.cache_dir)
    reader = PromptReader(tokenizer, load_template(checkpoint, tokenizer), spec.vocab_size)
    prompts = {
        name: [reader.read([{"role": "user", "content": text}]) for text in texts] for name, texts in PROMPTS.items()
    }
    backend, options = NativeBackend(default_root(settings)), BackendOptions(max_step_seqs=32, threads=args.threads)
    model, draft = (backend.load(record(spec), load_weights(checkpoint, spec), options) for _ in range(2))
    wait_for_quiet(args.patience)
    meter = LoadMeter()
    chosen = [case for case in cases(prompts, draft, args.max_tokens) if args.only in case.name]
    found: dict[str, Figures] = {}
    for case in chosen:
        found[case.name] = measure(model, case, args.repeats)
        print(" | ".join(found[case.name].row(case.name)), file=sys.stderr)
    load = meter.read()
    report(found, args, path.name, load.foreign_cores + load.steal_cores)


def report(found: dict[str, Figures], args: argparse.Namespace, file_name: str, foreign_cores: float) -> None:
    head = ["", "tokens/s without", "with", "ratio", "of the answer guessed", "guesses right"]
    table = markdown_table(head, [one.row(name) for name, one in found.items()])
    commit, machine = describe_commit(ROOT), describe_machine()
    what = f"{file_name}, {args.threads} threads, answers of {args.max_tokens} tokens, {args.repeats} pairs of runs"
    print(f"{what}\n{machine}, commit {commit}; other processes used {foreign_cores:.2f} cores\n\n{table}\n")
    told = {
        name: {"plain": one.plain.as_json(), "speculative": one.speculative.as_json(), "ratio": one.ratio.as_json(),
               "drafted_share": round(one.drafted_share, 4), "accepted_share": round(one.accepted_share, 4),
               "acceptance": round(one.acceptance, 4)}
        for name, one in found.items()
    }  # fmt: skip
    facts = {"benchmark": "speculate", "machine": machine, "wayra": commit, "file": file_name, "threads": args.threads}
    print(json.dumps({**facts, "foreign_cores": round(foreign_cores, 2), "cases": told}))
    if args.write_docs:
        command = f"python benchmarks/speculate.py --repeats {args.repeats}"
        when = datetime.date.today().isoformat()
        body = f"Measured {when} by `{command}`, commit {commit}, {machine}; {what}.\n\n{table}"
        write_section(DOCUMENT, "speculate", body)


if __name__ == "__main__":
    main()
