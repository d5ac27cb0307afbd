"""The language of derivations: arithmetic over claims, facts, price lists, memory and rooflines, and nothing else.

    A002 / A001                                       the claimed values of two claims
    weights_gb("llama-3.1-70b", bits=8)               a named derivation with parameters
    low(A050) .. high(A050)                           two ends of a range
Names are ids of claims. Calls are those of `Functions`; strings and keywords may appear only as their arguments.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wayra.base.errors import InvalidParameter, WayraError
from wayra.plan.claims.claim import Claim
from wayra.plan.expression import FUNCTIONS as ARITHMETIC
from wayra.plan.expression import evaluate
from wayra.plan.quantity import Quantity, computed, given

MAX_TEXT = 600
MAX_STRING = 120


@dataclass(frozen=True, slots=True)
class Words:
    """A derived value that is no number: "yes", "no", a list."""

    text: str
    source: str = ""


Value = Quantity | Words
Argument = float | str
Functions = Mapping[str, Callable[..., Value]]


@dataclass(frozen=True, slots=True)
class Derived:
    """What a derivation gave: a number or a range of two, or words. steps: what was computed on the way."""

    expression: str
    low: Quantity | None = None
    high: Quantity | None = None
    words: Words | None = None


@dataclass(slots=True)
class _Run:
    """One evaluation: what names and calls mean, and the quantities met."""

    expression: str
    claims: Mapping[str, Claim]
    functions: Functions
    met: list[Quantity] = field(default_factory=list[Quantity])


def derive(expression: str, unit: str, claims: Mapping[str, Claim], functions: Functions) -> Derived:
    """Evaluate a derivation. Raises InvalidParameter on what the language does not allow or what has no value."""
    if len(expression) > MAX_TEXT:
        raise InvalidParameter(f"a derivation of {len(expression)} characters; expected at most {MAX_TEXT}")
    ends = [_end(text, unit, claims, functions) for text in expression.split(" .. ")]
    if len(ends) > 2 or (len(ends) == 2 and any(isinstance(end, Words) for end in ends)):
        raise InvalidParameter(f"{expression!r} is no range of two numbers")
    first, last = ends[0], ends[-1]
    if isinstance(first, Words) or isinstance(last, Words):
        return Derived(expression, words=first if isinstance(first, Words) else None)
    low, high = sorted((first, last), key=lambda end: end.value)
    return Derived(expression, low, high)


def _end(text: str, unit: str, claims: Mapping[str, Claim], functions: Functions) -> Value:
    run = _Run(text.strip(), claims, functions)
    try:
        tree = ast.parse(run.expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidParameter(f"{run.expression!r} is no derivation") from None
    if isinstance(tree, ast.Call) and _name(tree) in functions:
        return _call(tree, run)
    value = _number(tree, run)
    return computed("derived", value, unit, run.expression, *run.met)


def _number(node: ast.expr, run: _Run) -> float:
    """Arithmetic is done by `plan.expression`; here names and calls are replaced by their values first."""
    values: dict[str, float] = {}
    replaced = ast.unparse(_Replace(run, values).visit(node))
    return evaluate(replaced, values)


class _Replace(ast.NodeTransformer):
    """Puts a fresh name where a claim or a derivation function stands, and remembers its value."""

    def __init__(self, run: _Run, values: dict[str, float]) -> None:
        self._run = run
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._named(_claimed(node.id, self._run))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if _name(node) in ARITHMETIC:
            node.args = [self.visit(arg) for arg in node.args]
            return node
        value = _call(node, self._run)
        if isinstance(value, Words):
            raise InvalidParameter(f"{ast.unparse(node)} gives {value.text!r}, which is no number to compute with")
        self._run.met.append(value)
        return self._named(value.value)

    def _named(self, value: float) -> ast.expr:
        name = f"v{len(self._values)}"
        self._values[name] = value
        return ast.Name(name, ast.Load())


def _claimed(name: str, run: _Run) -> float:
    claim = run.claims.get(name)
    if claim is None:
        raise InvalidParameter(f"{run.expression!r} names {name!r}, which is no claim's id")
    low, high = claim.stated.low, claim.stated.high
    if low is None or low != high:
        raise InvalidParameter(f"claim {name} states {claim.stated.text!r}, no single number; use low() or high()")
    run.met.append(given(name, low, claim.unit, f"claimed: {claim.subject}, {claim.metric}"))
    return low


def _call(node: ast.Call, run: _Run) -> Value:
    name = _name(node)
    if name in ("low", "high"):
        return _end_of_claim(node, name, run)
    function = run.functions.get(name)
    if function is None:
        raise InvalidParameter(f"{run.expression!r} calls {name!r}; known: low, high, {', '.join(run.functions)}")
    args = [_argument(arg, run) for arg in node.args]
    keywords = {word.arg: _argument(word.value, run) for word in node.keywords if word.arg is not None}
    if len(keywords) != len(node.keywords):
        raise InvalidParameter(f"{run.expression!r} unpacks arguments; write them out")
    try:
        return function(*args, **keywords)
    except WayraError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InvalidParameter(f"{ast.unparse(node)} cannot be computed: {error}") from None


def _end_of_claim(node: ast.Call, which: str, run: _Run) -> Quantity:
    match node.args:
        case [ast.Name(id=name)] if name in run.claims:
            claim = run.claims[name]
        case _:
            raise InvalidParameter(f"{ast.unparse(node)} needs the id of one claim")
    value = claim.stated.low if which == "low" else claim.stated.high
    if value is None:
        raise InvalidParameter(f"claim {claim.id} states {claim.stated.text!r}, no number")
    return given(f"{which}_{claim.id}", value, claim.unit, f"claimed: {claim.subject}, {claim.metric}")


def _argument(node: ast.expr, run: _Run) -> Argument:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if len(node.value) > MAX_STRING:
            raise InvalidParameter(f"a name of {len(node.value)} characters; expected at most {MAX_STRING}")
        return node.value
    return _number(node, run)


def _name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""
