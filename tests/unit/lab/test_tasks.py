"""Each task's scorer passes its own references and fails wrong answers, over several seeds."""

import copy
import functools
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from wayra.base.errors import InvalidParameter
from wayra.lab.items import Item, Score
from wayra.lab.sandbox import sandbox_available
from wayra.lab.tasks import Task, find_task, tasks
from wayra.lab.tasks.planted import KINDS, PROGRAMS

AVAILABLE = sandbox_available()
MARKED = [task for task in tasks() if task.mark is not None]
WITHOUT_PROGRAMS = [task for task in MARKED if not task.needs_sandbox]
WITH_PROGRAMS = [task for task in MARKED if task.needs_sandbox]
each = pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)


@functools.cache
def _items(task: Task, seed: int) -> tuple[Item, ...]:
    return task.items(seed)


def _score(task: Task, item: Item, answer: str) -> Score:
    found = task.score(item, answer)
    assert found is not None
    assert 0.0 <= found.value <= 1.0
    return found


def _misjudged(task: Task, items: list[Item]) -> list[tuple[str, str, str]]:
    """References that do not pass, and wrong answers that do."""
    cases = [(item, str(item.data["reference"]), True) for item in items]
    cases += [(item, wrong, False) for item in items for wrong in item.data["wrong"]]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(lambda case: _score(task, case[0], case[1]), cases))
    return [
        (item.id, score.explanation, answer)
        for (item, answer, is_right), score in zip(cases, scores, strict=True)
        if score.passed is not is_right or (score.value == 1.0) is not is_right
    ]


@each
def test_task_has_thirty_different_items_from_eight_generators(task: Task) -> None:
    items = _items(task, 0)
    assert len(items) >= 30
    assert len(task.generators) >= 8
    assert len({item.data["group"] for item in items}) == len(task.generators)
    assert len({item.id for item in items}) == len({str(item.messages) for item in items}) == len(items)
    assert {item.suite for item in items} == {task.name}


@each
def test_same_seed_gives_the_same_items_and_another_seed_others(task: Task) -> None:
    first, again, other = _items(task, 1), task.items(1), _items(task, 7)
    assert first == again
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    assert len({str(item.messages) for item in (*first, *other)}) > 1.5 * len(first)


@each
def test_two_seeds_have_hardly_a_question_in_common(task: Task) -> None:
    first, second = ({str(item.messages) for item in _items(task, seed)} for seed in (1, 7))
    assert len(first & second) <= 2


def test_two_seeds_have_hardly_a_query_in_common() -> None:
    first, second = ({item.target for item in _items(find_task("sql"), seed)} for seed in (1, 7))
    assert len(first & second) <= 3


@each
def test_no_question_gives_its_answer_away(task: Task) -> None:
    for item in _items(task, 0):
        assert str(item.data["reference"]) not in str(item.messages)


@pytest.mark.parametrize("task", WITHOUT_PROGRAMS, ids=lambda task: task.name)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_reference_passes_and_wrong_answers_fail(task: Task, seed: int) -> None:
    assert _misjudged(task, list(_items(task, seed))) == []


@pytest.mark.skipif(not AVAILABLE.is_available, reason=f"no sandbox here: {AVAILABLE.reason}")
@pytest.mark.parametrize("task", WITH_PROGRAMS, ids=lambda task: task.name)
def test_programs_of_reference_pass_and_wrong_ones_fail(task: Task) -> None:
    items = _items(task, 0)
    assert _misjudged(task, list(items[:6])) == []


@pytest.mark.slow
@pytest.mark.skipif(not AVAILABLE.is_available, reason=f"no sandbox here: {AVAILABLE.reason}")
@pytest.mark.parametrize("task", WITH_PROGRAMS, ids=lambda task: task.name)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_programs_of_reference_pass_and_all_wrong_ones_fail(task: Task, seed: int) -> None:
    assert _misjudged(task, list(_items(task, seed))) == []


@pytest.mark.parametrize("task", MARKED, ids=lambda task: task.name)
@pytest.mark.parametrize(
    "answer", ["", "\0", "```", "Answer:", "Answer: ", "#" * 200_000, "```python\ndef f(:\n```", "Answer: 9e999999"]
)
def test_rubbish_scores_nothing_and_breaks_nothing(task: Task, answer: str) -> None:
    for item in _items(task, 0)[:: len(task.generators)]:
        score = _score(task, item, answer)
        assert score.passed is False
        assert score.explanation


def test_unknown_task_is_refused_with_the_list_of_tasks() -> None:
    with pytest.raises(InvalidParameter, match=r"no task 'cooking'; there are functions, .*maths"):
        find_task("cooking")


def test_each_planted_bug_stands_on_one_line_and_is_caught_by_the_cases() -> None:
    rng = random.Random(5)
    for program in PROGRAMS:
        for bug in program.bugs:
            assert program.source.count(bug.old) == 1, (program.name, bug.old)
            assert "\n" not in bug.old + bug.new
            assert bug.kind in KINDS
            scope: dict[str, Callable[..., object]] = {}
            exec(program.with_bug(bug), scope)
            cases = [*program.special, *(program.arguments(rng) for _ in range(16))]
            assert any(_result(scope[program.name], case) != _result(program.function, case) for case in cases), bug


def _result(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    try:
        return function(*copy.deepcopy(arguments))
    except (IndexError, ValueError) as error:
        return type(error)


def test_review_pays_for_lines_and_kinds_and_charges_for_false_alarms() -> None:
    item = Item(id="1", suite="review", target={"3": "off-by-one", "9": "wrong-operator"})

    def value(answer: str) -> float:
        return _score(find_task("review"), item, answer).value

    assert value("LINE 3: off-by-one\nLINE 9: wrong-operator") == 1.0
    assert value("**LINE 3**: off-by-one, since ...\n- Line 9 - wrong operator") == 1.0
    assert value("LINE 3: off-by-one") == 0.5
    assert value("LINE 3: missing-case") == 0.25
    assert value("LINE 3: off-by-one\nLINE 4: off-by-one") == 0.375
    assert value("\n".join(f"LINE {n}: off-by-one" for n in range(1, 30))) == 0.0


WRITING = find_task("writing")


def test_there_are_the_ten_tasks() -> None:
    names = [task.name for task in tasks()]
    assert names == [
        "functions", "bug_fix", "sql", "summary", "maths", "review", "analysis", "writing", "instruction_following",
        "reasoning",
    ]  # fmt: skip
    assert sum(len(_items(task, 0)) for task in tasks()) >= 300


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_form_of_creative_writing_is_checked_apart(seed: int) -> None:
    assert WRITING.checks is not None
    for item in WRITING.items(seed):
        assert [one.constraint for one in WRITING.checks(item, item.data["reference"]) if not one.is_obeyed] == []  # type: ignore[arg-type]
        for wrong in item.data["wrong"]:  # type: ignore[attr-defined]
            assert not all(one.is_obeyed for one in WRITING.checks(item, wrong))


def test_creative_writing_without_a_judge_is_not_judged() -> None:
    assert WRITING.score(WRITING.items(0)[0], "Once upon a time") is None


def test_judge_is_asked_in_both_orders_and_must_agree_with_itself() -> None:
    item = WRITING.items(0)[0]
    asked: list[str] = []

    def likes_dragons(question: str) -> str:
        asked.append(question)
        return f"It has a dragon.\n**Verdict: {'A' if question.index('DRAGON') < question.index('<text_B>') else 'B'}**"

    score = WRITING.score(item, "A DRAGON sleeps.", likes_dragons)
    assert score == Score(1.0, None, "by a language model, asked in both orders: preferred to a plain text")
    assert len(asked) == 2
    assert asked[0].index("DRAGON") < asked[0].index("<text_B>") < asked[1].index("DRAGON")


@pytest.mark.parametrize(("reply", "value"), [("Verdict: A", 0.5), ("Verdict: B", 0.5), ("Both are fine.", 0.5)])
def test_judge_who_prefers_a_place_or_says_nothing_decides_nothing(reply: str, value: float) -> None:
    score = WRITING.score(WRITING.items(0)[0], "Once upon a time", lambda _: reply)
    assert score is not None
    assert (score.value, score.passed) == (value, None)


def test_query_can_neither_write_nor_run_forever_nor_read_settings() -> None:
    item = find_task("sql").items(0)[0]
    for query in (
        "DELETE FROM orders",
        "CREATE TABLE x (y)",
        "PRAGMA table_info(orders)",
        "SELECT * FROM pragma_table_info('orders')",
        "ATTACH '/tmp/x.db' AS x",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "SELECT randomblob(1000000000)",
        "SELECT length(printf('%.*c', 900000000, 'x'))",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
    ):
        score = _score(find_task("sql"), item, f"```sql\n{query}\n```")
        assert score.value == 0.0
        assert "the query" in score.explanation or "rows" in score.explanation, query


def test_answer_that_leaves_before_its_tests_has_not_passed() -> None:
    if not AVAILABLE.is_available:
        pytest.skip(f"no sandbox here: {AVAILABLE.reason}")
    task = find_task("functions")
    item = task.items(0)[0]
    name = item.data["function"]
    score = _score(task, item, f"```python\ndef {name}(value):\n    raise SystemExit(0)\n```")
    assert (score.passed, score.explanation) == (False, "it left early")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: 1234", 1.0), ("**Answer:** $1,234", 1.0), ("Answer: 5\n...\nanswer = 1234.", 1.0),
        ("so \\boxed{1234}", 1.0),
        ("Answer: \\boxed{1234}", 1.0), ("Answer: 1234.5", 0.0), ("1234", 0.0), ("<think>Answer: 1234</think> no", 0.0),
        ("Answer: 1234 km", 1.0), ("Answer: -1234", 0.0),
    ],
)  # fmt: skip
def test_final_number_is_read_from_the_line_that_was_asked_for(text: str, value: float) -> None:
    item = Item(id="1", suite="maths", target=1234)
    assert _score(find_task("maths"), item, text).value == value
