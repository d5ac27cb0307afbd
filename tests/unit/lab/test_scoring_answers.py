"""What is taken for an answer, when two answers are the same, which instructions a text obeys, which programs pass."""

import itertools
import math
import subprocess
import sys

import pytest

from wayra.base.errors import InvalidParameter
from wayra.lab.scoring import extract
from wayra.lab.scoring.execution import Ran, executions
from wayra.lab.scoring.instruction_checks import CHECKS, count_sentences, obeys, obeys_loosely
from wayra.lab.scoring.languages import could_be
from wayra.lab.scoring.maths import same_expression
from wayra.lab.scoring.pass_at_k import pass_at_k, reported_ks
from wayra.lab.scoring.programs import readings
from wayra.lab.suites.answers import last_boxed
from wayra.lab.suites.instructions import KNOWN


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("So 2 + 3.\n#### 5", "5", "5"),
        ("He has $1,200.\n#### 1,200. Done with 7", "1,200.", "7"),
        ("The answer is 18 dollars", None, "18"),
        ("no number at all", None, None),
        ("<think>#### 4</think>It is 9.", None, "9."),
        ("#### -3.5", "-3.5", "-3.5"),
    ],
)
def test_numbers_are_read_strictly_after_the_mark_and_flexibly_at_the_end(
    text: str, strict: str | None, flexible: str | None
) -> None:
    assert extract.number_strictly(text) == strict
    assert extract.number_anywhere(text) == flexible


def test_numbers_are_the_same_but_for_commas_dollars_and_a_last_point() -> None:
    assert extract.same_number("$1,200.", "1200")
    assert not extract.same_number("18.0", "18")


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("Because of it.\nAnswer: C", "C", "C"),
        ("**Answer: (b)**", "B", "B"),
        ("D", "D", "D"),
        ("The correct answer is (A), not B.", None, "A"),
        ("I think so.\nC) the third", None, "C"),
        ("Answer: E", None, None),
        ("I cannot say", None, None),
    ],
)
def test_letters_are_read_strictly_from_their_line(text: str, strict: str | None, flexible: str | None) -> None:
    assert extract.letter_strictly(text, 4) == strict
    assert extract.letter_anywhere(text, 4) == flexible


def test_boxes_are_matched_by_their_braces() -> None:
    assert last_boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}}.") == r"\frac{1}{2}"
    assert last_boxed(r"so \boxed 5$") == "5"
    assert last_boxed(r"cut off \boxed{12") is None
    assert extract.integer_strictly(r"\boxed{042}") == "42"
    assert extract.integer_strictly("The answer is 42") is None
    assert extract.integer_anywhere("we get 7, so the answer is 1,042.") == "1042"


@pytest.mark.parametrize(
    ("found", "target", "is_same"),
    [
        (r"\dfrac12", r"\frac{1}{2}", True),
        ("1/2", r"\frac{1}{2}", True),
        ("0.5", r"\frac12", True),
        (r"x = 5", "5", True),
        (r"12\text{ cm}", "12", True),
        (r"\text{Tuesday}", "Tuesday", True),
        (r"1{,}000", "1000", False),
        ("1,000", "1000", True),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})", True),
        (r"50\%", "50", True),
        (r"\sqrt2", r"\sqrt{2}", True),
        ("-1/3", r"-\frac{1}{3}", True),
        (r"\frac{-1}{3}", r"-\frac{1}{3}", True),
        ("3.0", "3", True),
        ("30.0", "3", False),
        ("(1,2)", "(2,1)", False),
        ("", "0", False),
    ],
)
def test_expressions_are_compared_in_normal_form(found: str, target: str, is_same: bool) -> None:
    assert same_expression(found, target) is is_same


def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer() -> None:
    for n, c in itertools.product(range(1, 7), range(7)):
        if c > n:
            continue
        for k in range(1, n + 1):
            subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert math.isclose(pass_at_k(n, c, k), sum(map(any, subsets)) / len(subsets), abs_tol=1e-12)
    assert reported_ks(10) == [2, 5, 10]
    assert reported_ks(1) == []
    with pytest.raises(InvalidParameter, match=r"pass@3 of 1 right in 2"):
        pass_at_k(2, 1, 3)


OBEYED: dict[str, tuple[str, str, dict[str, object]]] = {
    "keywords:existence": ("The River and the sea", "the sea", {"keywords": ["river"]}),
    "keywords:frequency": ("a b a b a", "a b", {"keyword": "a", "frequency": 3, "relation": "at least"}),
    "keywords:forbidden_words": ("a forest", "for you", {"forbidden_words": ["for"]}),
    "keywords:letter_frequency": ("Qq q", "q", {"letter": "q", "let_frequency": 3, "let_relation": "at least"}),
    "language:response_language": ("Der Hund und die Katze sind nicht hier", "The dog is not in the house",
                                   {"language": "de"}),
    "length_constraints:number_sentences": ("One. Dr. Two is here!", "One. Two. Three.",
                                            {"num_sentences": 3, "relation": "less than"}),
    "length_constraints:number_paragraphs": ("a\n***\nb", "a\n***\n***\nb", {"num_paragraphs": 2}),
    "length_constraints:number_words": ("one two three", "one two", {"num_words": 3, "relation": "at least"}),
    "length_constraints:nth_paragraph_first_word": ("x\n\n'Well, then", "x\n\nthen", {
        "num_paragraphs": 2, "nth_paragraph": 2, "first_word": "well"}),
    "detectable_content:number_placeholders": ("[name] at [place]", "[name]", {"num_placeholders": 2}),
    "detectable_content:postscript": ("Bye.\nP. S. more", "Bye.", {"postscript_marker": "P.S."}),
    "detectable_format:number_bullet_lists": ("* a\n- b", "* a\n** b **", {"num_bullets": 2}),
    "detectable_format:constrained_response": ("My answer is no.", "No.", {}),
    "detectable_format:number_highlighted_sections": ("*a* and *b*", "*a* and * *", {"num_highlights": 2}),
    "detectable_format:multiple_sections": ("Section 1\na\nSection 2\nb", "Section 1", {
        "section_spliter": "Section", "num_sections": 2}),
    "detectable_format:json_format": ('```json\n{"a": 1}\n```', "{a: 1}", {}),
    "detectable_format:title": ("<<Rain>>\ntext", "<< >>", {}),
    "combination:two_responses": ("one\n******\ntwo", "one\n******\none", {}),
    "combination:repeat_prompt": ("say this. And so", "and so", {"prompt_to_repeat": "Say this."}),
    "startend:end_checker": ('It is done. The END."', "The end is near", {"end_phrase": "the end."}),
    "startend:quotation": ('"so"', '"so', {}),
    "change_case:capital_word_frequency": ("A BIG cat", "a BIG cat", {
        "capital_frequency": 2, "capital_relation": "at least"}),
    "change_case:english_capital": ("LOUD.", "Loud.", {}),
    "change_case:english_lowercase": ("quiet.", "Quiet.", {}),
    "punctuation:no_comma": ("a; b", "a, b", {}),
}  # fmt: skip


@pytest.mark.parametrize("instruction", sorted(CHECKS))
def test_each_instruction_tells_obeying_from_disobeying(instruction: str) -> None:
    good, bad, arguments = OBEYED[instruction]
    assert obeys(good, instruction, arguments)
    assert not obeys(bad, instruction, arguments)
    assert not obeys("  \n", instruction, arguments)


def test_suites_know_the_instructions_that_can_be_checked() -> None:
    assert frozenset(CHECKS) == KNOWN


def test_loosely_a_first_line_and_asterisks_do_not_count() -> None:
    text = "Sure, here it is:\n**loud**"
    assert not obeys(text, "change_case:english_lowercase", {})
    assert not obeys(text, "punctuation:no_comma", {})
    assert obeys_loosely(text, "punctuation:no_comma", {})
    assert obeys_loosely(text, "change_case:english_lowercase", {})


def test_sentences_and_languages_are_told_apart() -> None:
    assert count_sentences('He said "no!" Then, at 3.5 km, he left... And so') == 3
    assert could_be("Это просто пример", "ru")
    assert not could_be("This is an example of it", "ru")
    assert could_be("¿Dónde está la casa de los perros?", "es")
    assert could_be("12", "th")


def run_here(source: str) -> Ran:
    """The tests' own programs are harmless."""
    done = subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, text=True, timeout=60, check=False)
    return Ran(done.stdout, done.stderr[-200:] if done.returncode else "")


FUNCTION = {
    "style": "function",
    "entry_point": "double",
    "signature": "import math\n\ndef double(x):\n",
    "tests": "def check(f):\n    assert f(2) == 4\ncheck(double)\n",
}


def test_code_is_read_as_a_continuation_or_from_its_last_block() -> None:
    assert (
        readings("    return 2 * x\n", "shots...", FUNCTION)["strict"] == FUNCTION["signature"] + "    return 2 * x\n"
    )
    told = "Here:\n```python\ndef double(x):\n    return x + x\n```\nand\n```\nno\n```"
    head = "import math\n\n"
    assert readings(told, [], FUNCTION) == dict.fromkeys(
        ("strict", "flexible"), f"{head}def double(x):\n    return x + x\n"
    )
    assert readings("```python\n    return 2 * x\n```", [], FUNCTION) == {
        "flexible": f"{FUNCTION['signature']}    return 2 * x\n"
    }
    assert readings("I cannot do that.", [], {"style": "stdin"}) == {}


def test_programs_pass_only_when_they_reach_the_end_of_their_tests() -> None:
    right, wrong = executions("    return 2 * x\n", "", FUNCTION, run_here)[0], "    return x\n"
    assert (right.reading, right.value, right.why) == ("strict", 1.0, "")
    failed = executions(wrong, "", FUNCTION, run_here)[0]
    assert failed.value == 0.0
    assert "AssertionError" in failed.why
    left = executions("    return 4\nimport sys\nsys.exit(0)\n", "", FUNCTION, run_here)[0]
    assert (left.value, left.why) == (0.0, "it ended before its tests did")
    none = executions("no", [], {"style": "program", "tests": "assert"}, lambda _source: Ran("", "broken"))
    assert [one.value for one in none] == [0.0, 0.0]


def test_programs_that_read_input_and_methods_are_tested_case_by_case() -> None:
    cases = [["1 2\n", "3\n"], ["5 5\n", "10\n"]]
    text = "```python\nimport sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit()\n```"
    assert [one.value for one in executions(text, [], {"style": "stdin", "cases": cases}, run_here)] == [1.0, 1.0]
    method = {"style": "method", "function": "add", "cases": [["1\n2", "3"], ["[1]\n[2]", "[1, 2]"]]}
    text = "```python\nclass Solution:\n    def add(self, a, b):\n        return a + b\n```"
    assert executions(text, [], method, run_here)[0].value == 1.0
    wrong = executions("```python\nprint(3)\n```", [], {"style": "stdin", "cases": cases}, run_here)[0]
    assert wrong.value == 0.0
    assert "test 2" in wrong.why
