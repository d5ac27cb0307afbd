"""What speculation is made of: the match finder, lengths, step times, and the bound on what wrong guesses cost."""

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from drafters import Oracle
from numpy.typing import NDArray

import wayra.engine.engine as engine_module
from wayra.backends.api import BackendOptions, Model, StepBatch, StepResult
from wayra.backends.null import NullModel, null_spec
from wayra.base.errors import InvalidParameter
from wayra.engine.engine import Engine
from wayra.engine.kv_cache import KvCache
from wayra.engine.metrics import EngineMetrics
from wayra.engine.request import Request, SamplingParams
from wayra.engine.settings import EngineSettings, Limits
from wayra.engine.speculate import lookup
from wayra.engine.speculate.draft_model import DraftModel
from wayra.engine.speculate.drafter import Drafter
from wayra.engine.speculate.lengths import choose_lengths, least_chance
from wayra.engine.speculate.lookup import MAX_MATCH, PromptLookup, TokenIndex
from wayra.engine.speculate.speculator import Speculator
from wayra.engine.speculate.step_times import StepTimes, key_share

VOCAB_SIZE = 500


def longest_match(ids: Sequence[int]) -> int:
    """The length of the longest end of `ids` that also stands earlier in it, the slow way."""
    text = ids[:-1]
    for length in range(min(MAX_MATCH, len(text)), 0, -1):
        tail = list(ids[-length:])
        if any(list(text[i : i + length]) == tail for i in range(len(text) - length + 1)):
            return length
    return 0


def test_the_longest_match_is_found_while_the_text_grows() -> None:
    rng = random.Random(3)
    for vocab_size in (2, 5, 30):
        ids = [rng.randrange(vocab_size) for _ in range(30)]
        ids += ids[4:25] + [rng.randrange(vocab_size) for _ in range(40)] + ids[10:30]
        index = TokenIndex()
        exact = 0
        for end in range(1, len(ids) + 1):
            match = index.find(ids[:end])
            expected = longest_match(ids[:end])
            assert match.length <= expected
            assert (match.length > 0) == (expected > 0)
            assert ids[match.start - match.length : match.start] == ids[end - match.length : end]
            exact += match.length == expected
        # Of many equal pairs only the latest few are looked at; with a vocabulary of two that is a loss.
        assert exact == len(ids) or vocab_size == 2


def test_a_match_is_found_when_many_tokens_come_at_once() -> None:
    index = TokenIndex()
    index.find([1, 2, 3, 4, 5])
    assert index.find([1, 2, 3, 4, 5, 9, 2, 3, 4]) == (3, 4)


def test_the_tables_of_a_match_finder_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_TABLE", 50)
    index = TokenIndex()
    ids = list(range(400))
    index.find(ids)
    sizes = [len(value) for value in vars(index).values() if isinstance(value, dict)]
    assert sorted(sizes) == [pytest.approx(25, abs=25), 51, 399]  # pairs, older pairs, single tokens
    assert index.find([*ids, 380, 381, 382]).length == 3
    assert index.find([*ids, 380, 381, 382, 5, 6]).length == 1


def test_the_longest_run_of_likely_guesses_is_chosen_when_a_step_costs_the_same() -> None:
    assert choose_lengths([[0.9, 0.8, 0.7], [0.95]], 2, [1.0] * 5, 0.0) == [3, 1]


def test_no_guess_is_chosen_when_a_step_grows_with_each_token() -> None:
    assert choose_lengths([[0.9, 0.8], [0.9]], 2, [2.0, 3.0, 4.0, 5.0], 0.0) == [0, 0]


def test_a_jump_in_the_cost_of_a_step_is_taken_when_the_guesses_beyond_it_pay() -> None:
    chances = [[0.95**n for n in range(1, 8)]]
    assert choose_lengths(chances, 1, [1.0, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9], 0.0) == [7]
    assert choose_lengths(chances, 1, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 0.0) == [0]


def test_guesses_that_take_as_long_as_a_step_are_not_asked_for() -> None:
    chances = [[1.0] * 8]
    assert choose_lengths(chances, 1, [1.0] * 9, 1.0) == [0]
    assert choose_lengths(chances, 1, [1.0] * 9, 0.1) == [8]


def test_full_steps_cannot_pay() -> None:
    assert least_chance(32, [32.0, 33.0, 34.0]) > 1


def test_no_choice_is_missed_by_the_bound_on_the_first_chance() -> None:
    rng = random.Random(2)
    num_chosen = 0
    for _ in range(2000):
        num_seqs = rng.randint(1, 4)
        step_s = [1.0]
        for _ in range(12):
            step_s.append(step_s[-1] + rng.choice([0.0, 0.05, 0.3, 1.0]))
        first = [rng.random() for _ in range(num_seqs)]
        chances = [[one * 0.9**n for n in range(4)] for one in first]
        if any(choose_lengths(chances, num_seqs, step_s, 0.0)):
            num_chosen += 1
            assert max(first) >= least_chance(num_seqs, step_s)
    assert num_chosen > 200


def test_step_times_are_learned_where_measured_and_between() -> None:
    times = StepTimes(0.0)
    seconds = {1: 0.010, 2: 0.010, 4: 0.012, 8: 0.020}
    for _ in range(40):
        for size, one in seconds.items():
            times.observe(size, 0, one)
    for size, one in seconds.items():
        assert times.estimate(size, 0) == pytest.approx(one, rel=0.05)
    assert 0.012 < times.estimate(6, 0) < 0.020
    assert times.estimate(12, 0) > times.estimate(8, 0)


def test_one_slow_step_changes_little_and_a_slow_machine_soon_all() -> None:
    times = StepTimes(0.0)
    for _ in range(30):
        times.observe(1, 0, 0.010)
        times.observe(5, 0, 0.015)
    times.observe(5, 0, 1.0)
    assert times.estimate(5, 0) < 0.018
    for _ in range(30):
        times.observe(1, 0, 0.020)
    assert times.estimate(1, 0) == pytest.approx(0.020, rel=0.05)
    assert 0.022 < times.estimate(5, 0) < 0.040


def test_a_longer_context_makes_further_rows_dearer() -> None:
    times = StepTimes(2e-4)
    times.observe(1, 1, 0.010)
    near, far = times.curve(1, 1, 8), times.curve(1, 4000, 8)
    assert all(a < b for a, b in pairwise(near))
    assert far[8] - far[0] > 2 * (near[8] - near[0])


def test_the_share_of_a_key_is_that_of_the_cost_formulas() -> None:
    assert key_share(null_spec()) == 0.0


class TimedModel(NullModel):
    """Its time is that of a formula: a step of n tokens takes 1 + (n - 1) * row_s seconds."""

    def __init__(self, row_s: float) -> None:
        super().__init__(null_spec(VOCAB_SIZE, 2048), BackendOptions(max_step_seqs=64))
        self.now_s = 0.0
        self._row_s = row_s

    def step(self, batch: StepBatch) -> StepResult:
        self.now_s += 1.0 + (len(batch.token_ids) - 1) * self._row_s
        return super().step(batch)


def timed_run(
    monkeypatch: pytest.MonkeyPatch, row_s: float, num_seqs: int, drafter: Drafter | None
) -> tuple[float, EngineMetrics]:
    """Seconds, by the formula, that some requests of 256 tokens take; and what the engine counted."""
    model = TimedModel(row_s)

    def make(model_: Model, limits: Limits, kv: KvCache, drafter: Drafter | None) -> Speculator:
        assert drafter is not None
        return Speculator(drafter, limits, kv, StepTimes(0.0), VOCAB_SIZE, clock=lambda: model.now_s)

    monkeypatch.setattr(engine_module, "make_speculator", make)
    engine = Engine(model, EngineSettings(speculate="off" if drafter is None else "draft"), drafter=drafter)
    for number in range(num_seqs):
        engine.add(Request(f"r{number}", (1, number), SamplingParams(temperature=0, max_tokens=256)))
    while engine.has_work():
        engine.step()
    return model.now_s, engine.metrics()


def answers(num_seqs: int) -> dict[str, tuple[int, ...]]:
    engine = Engine(NullModel(null_spec(VOCAB_SIZE, 2048)), EngineSettings())
    found: dict[str, tuple[int, ...]] = {f"r{number}": () for number in range(num_seqs)}
    for number in range(num_seqs):
        engine.add(Request(f"r{number}", (1, number), SamplingParams(temperature=0, max_tokens=256)))
    while engine.has_work():
        for output in engine.step():
            found[output.request_id] += output.token_ids
    return found


@pytest.mark.parametrize("num_seqs", [1, 4, 16])
@pytest.mark.parametrize("row_s", [0.01, 0.15, 0.5, 1.0])
def test_guesses_that_are_never_right_cost_one_percent_at_most(
    monkeypatch: pytest.MonkeyPatch, row_s: float, num_seqs: int
) -> None:
    wrong = Oracle(answers(num_seqs), VOCAB_SIZE, wrong_share=1.0)
    plain_s, _ = timed_run(monkeypatch, row_s, num_seqs, None)
    seconds, metrics = timed_run(monkeypatch, row_s, num_seqs, wrong)
    assert metrics.generated_tokens == 256 * num_seqs
    assert plain_s <= seconds <= plain_s * 1.01


@pytest.mark.parametrize(("row_s", "most"), [(0.0, 0.2), (0.1, 0.3), (0.5, 0.7)])
def test_guesses_that_are_right_pay_as_far_as_rows_are_cheap(
    monkeypatch: pytest.MonkeyPatch, row_s: float, most: float
) -> None:
    plain_s, _ = timed_run(monkeypatch, row_s, 1, None)
    seconds, metrics = timed_run(monkeypatch, row_s, 1, Oracle(answers(1), VOCAB_SIZE, wrong_share=0.0))
    assert seconds < most * plain_s
    assert metrics.acceptance_rate == 1.0


def test_where_rows_cost_as_much_as_steps_even_right_guesses_gain_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain_s, _ = timed_run(monkeypatch, 1.0, 4, None)
    seconds, _ = timed_run(monkeypatch, 1.0, 4, Oracle(answers(4), VOCAB_SIZE, wrong_share=0.0))
    assert plain_s <= seconds < 1.01 * plain_s


def test_an_answer_that_turns_predictable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Oracle):
        def prospects(self, seqs: Sequence[object]) -> list[Sequence[int]]:
            self._wrong_share = 1.0 if len(seqs[0].token_ids) < 130 else 0.0  # type: ignore[attr-defined]
            return [(0,) * 31 for _ in seqs]

    plain_s, _ = timed_run(monkeypatch, 0.1, 1, None)
    seconds, _ = timed_run(monkeypatch, 0.1, 1, Late(answers(1), VOCAB_SIZE, wrong_share=1.0))
    assert seconds < 0.9 * plain_s


class OnlyEven:
    """A constraint: even tokens only."""

    def mask(self) -> NDArray[np.uint32]:
        return np.full((VOCAB_SIZE + 31) // 32, 0x55555555, dtype=np.uint32)

    def accept(self, token_id: int) -> bool:
        assert token_id % 2 == 0
        return False


def test_a_constrained_answer_is_not_guessed_and_the_one_beside_it_is() -> None:
    def run(speculate: str) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
        engine = Engine(NullModel(null_spec(VOCAB_SIZE, 512)), EngineSettings(speculate=speculate))
        # Likely to repeat itself: all but two tokens are biased away from.
        narrow = SamplingParams(temperature=1.0, seed=5, max_tokens=100, logit_bias={7: 60.0, 8: 60.0})
        engine.add(Request("bound", (1, 2), narrow, constraint=OnlyEven()))
        engine.add(Request("free", (1, 2), narrow))
        found: dict[str, tuple[int, ...]] = {"bound": (), "free": ()}
        drafted = {"bound": 0, "free": 0}
        while engine.has_work():
            for output in engine.step():
                found[output.request_id] += output.token_ids
                drafted[output.request_id] += output.drafted_tokens
            engine.check_integrity()
        return found, drafted

    plain, nothing = run("off")
    found, drafted = run("lookup")
    assert found == plain
    assert nothing == {"bound": 0, "free": 0}
    assert drafted["bound"] == 0
    assert drafted["free"] > 0


def test_speculation_by_a_draft_model_needs_one() -> None:
    with pytest.raises(InvalidParameter, match='speculate is "draft" without a draft model'):
        Engine(NullModel(), EngineSettings(speculate="draft"))


def test_a_draft_model_of_another_vocabulary_is_refused_with_both_sizes() -> None:
    with pytest.raises(InvalidParameter, match=r"vocabulary of 32,000 tokens, the model one of 128,256; take a draft"):
        DraftModel(NullModel(null_spec(32_000)), 128_256, 8, 4, 256)


def test_a_way_of_speculating_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="speculate is 'eagle', expected one of off, lookup, draft"):
        EngineSettings(speculate="eagle")
    with pytest.raises(InvalidParameter, match="draft_tokens is 32, expected an integer from 1 to 31"):
        EngineSettings(draft_tokens=32)


def test_a_step_of_one_row_has_no_room_for_guesses() -> None:
    model = NullModel(null_spec(VOCAB_SIZE, 512), BackendOptions(max_step_tokens=64, max_step_seqs=1))
    engine = Engine(model, EngineSettings(speculate="lookup"))
    engine.add(Request("r", (1, 2, 1, 2), SamplingParams(temperature=0, max_tokens=20)))
    while engine.has_work():
        engine.step()
    assert engine.metrics().drafted_tokens == 0


def test_lookup_reads_on_in_its_own_guesses_where_the_text_repeats_itself() -> None:
    engine = Engine(NullModel(null_spec(VOCAB_SIZE, 512)), EngineSettings())
    engine.add(Request("r", (9, 4, 5, 4, 5), SamplingParams(temperature=0, max_tokens=4)))
    seq = next(iter(engine._live.values()))  # pyright: ignore[reportPrivateUsage]
    drafter = PromptLookup(15)
    assert len(drafter.prospects([seq])[0]) == 15
    assert drafter.draft([(seq, 5)]) == [[4, 5, 4, 5, 4]]
    drafter.forget(seq)
    drafter.forget(seq)
