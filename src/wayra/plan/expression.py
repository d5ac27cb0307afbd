"""Arithmetic written as text and evaluated from it, so that the formula shown is the formula computed.

Only numbers, names, + - * / **, brackets and the functions of FUNCTIONS; nothing else of Python is reachable.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from wayra.base.errors import InvalidParameter

MAX_TEXT = 1000
MAX_EXPONENT = 64.0

Function = Callable[..., Any]
Evaluator = Callable[[Mapping[str, float]], float]

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "min": lambda *values: min(values),
        "max": lambda *values: max(values),
        "abs": abs,
        "sqrt": math.sqrt,
        "log": math.log,
        "exp": math.exp,
        "ceil": lambda x: float(math.ceil(x)),
        "floor": lambda x: float(math.floor(x)),
    }
)
_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = MappingProxyType(
    {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
)


def evaluate(text: str, values: Mapping[str, float]) -> float:
    """The value of `text` with its names taken from `values`.

    Raises: InvalidParameter on what is no arithmetic, on an unknown name, and on a result that is no finite number.
    """
    try:
        result = float(_compiled(text)(values))
    except ZeroDivisionError:
        raise InvalidParameter(f"{text!r} divides by zero with {_shown(values)}") from None
    except KeyError as error:
        known = ", ".join(sorted(values)) or "none"
        raise InvalidParameter(f"{text!r} names {error.args[0]!r}, which has no value; known: {known}") from None
    except InvalidParameter:
        raise
    except (OverflowError, ValueError, TypeError):  # TypeError: a wrong number of arguments, a complex root
        raise InvalidParameter(f"{text!r} has no finite value with {_shown(values)}") from None
    if not math.isfinite(result):
        raise InvalidParameter(f"{text!r} has no finite value with {_shown(values)}")
    return result


def names_in(text: str) -> tuple[str, ...]:
    """The names an expression needs, in order of appearance. Raises InvalidParameter on what is no arithmetic."""
    called = {id(node.func) for node in ast.walk(_parsed(text)) if isinstance(node, ast.Call)}
    found = [node for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name) and id(node) not in called]
    return tuple(dict.fromkeys(node.id for node in sorted(found, key=lambda node: node.col_offset)))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.Expression:
    if len(text) > MAX_TEXT:
        raise InvalidParameter(f"an expression of {len(text)} characters; expected at most {MAX_TEXT}")
    try:
        return ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidParameter(f"{text!r} is no arithmetic expression") from None


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Evaluator:
    return _evaluator(_parsed(text).body, text)


def _evaluator(node: ast.expr, text: str) -> Evaluator:
    """A closure for one node: planners evaluate the same few formulas a hundred thousand times."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            constant = float(number)
            return lambda values: constant
        case ast.Name(id=name):
            return operator.itemgetter(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _evaluator(operand, text)
            return lambda values: -inner(values)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, exponent = _evaluator(left, text), _evaluator(right, text)
            return lambda values: _power(base(values), exponent(values), text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            first, apply, second = _evaluator(left, text), _BINARY[type(op)], _evaluator(right, text)
            return lambda values: apply(first(values), second(values))
        case ast.Call(func=ast.Name(id=name), args=[*args], keywords=[]) if name in FUNCTIONS and args:
            function, parts = FUNCTIONS[name], [_evaluator(arg, text) for arg in args]
            return lambda values: function(*(part(values) for part in parts))
        case _:
            raise InvalidParameter(
                f"{text!r} contains {ast.unparse(node)!r}; allowed are numbers, names, + - * / **, brackets and "
                f"{', '.join(FUNCTIONS)}"
            )


def _power(base: float, exponent: float, text: str) -> float:
    if abs(exponent) > MAX_EXPONENT:
        raise InvalidParameter(f"{text!r} has an exponent of {exponent:g}; at most {MAX_EXPONENT:g} is allowed")
    return float(base**exponent)


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in values.items()) or "no values"
