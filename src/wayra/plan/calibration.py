"""Fits the constants of the roofline to measured runs, with intervals from hardware (or runs) left out of the fit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import InvalidParameter
from wayra.plan.constants import OF_PROMPTS, default_constants
from wayra.plan.roofline import LINK_SHARE, Constants, Terms

START = Constants(0.7, 0.5, 1e-5, 1e-5, 1e-5)
# A CPU reads the KV cache after the weights; see roofline.py.
START_ON_CPU = replace(START, kv_share=0.6)
MIN_RUNS = 8
COVERAGE = 0.9
_STEPS = 1500
_SMALLEST_S = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured time. group: what is left out together when intervals are made (the hardware, or the model).

    kind: of the hardware. is_prompt: the time of reading a prompt, not of a step or a token.
    """

    terms: Terms
    seconds: float
    group: str
    kind: str = ""
    is_prompt: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise InvalidParameter(f"a measured time of {self.seconds} s; expected a positive number")


def predict(observations: Sequence[Observation], constants: Constants) -> Array:
    """Seconds of each observation under these constants."""
    columns = _columns(observations)
    of_prompts = [item.is_prompt for item in observations]
    return np.where(of_prompts, _seconds(columns, constants.of_prompts()), _seconds(columns, constants))


def fit_constants(observations: Sequence[Observation], *, source: str = "", folds: int = 5) -> Constants:
    """The constants with the least mean absolute log error, and an interval for what was not in the fit.

    The interval is of the errors each group shows when the fit has not seen it: the quantile of their scatter around
    the group's median, corrected for a finite sample, and beyond it the largest median of any group, for new hardware
    (or a new model) has a shift of its own. Where there is one group, that of `folds` parts of its runs, without shift.
    Times of steps give all constants but those of prompts, for which fewer than MIN_RUNS prompts leave what is shipped.
    Raises: InvalidParameter with fewer than MIN_RUNS times of steps, or with several kinds of hardware.
    """
    kinds = sorted({item.kind for item in observations})
    if len(kinds) > 1:
        raise InvalidParameter(f"the runs are of several kinds of hardware ({', '.join(kinds)}); calibrate each alone")
    steps = [item for item in observations if not item.is_prompt]
    if len(steps) < MIN_RUNS:
        raise InvalidParameter(f"{len(steps)} runs to calibrate with; expected {MIN_RUNS} or more")
    kind = kinds[0]
    start = START_ON_CPU if kind == "cpu" else START
    best, low, high = _fitted(steps, folds, Coded(_encode(start), _decode))
    if not any(item.terms.sums for item in steps):
        # No run shares a model over cards, so any value fits.
        best = replace(best, sum_s=default_constants(kind).sum_s if kind else 0.0)
    best = replace(best, low=low, high=high, source=source, kind=kind)
    prompts = [item for item in observations if item.is_prompt]
    if kind != "cpu" or len(prompts) < MIN_RUNS:
        return _with_shipped_prompts(best) if kind else best
    of_prompts = Coded(np.zeros(2), lambda coded: _decode_prompts(coded, best))
    best, low, high = _fitted(prompts, folds, of_prompts)
    return replace(best, prompt_low=low, prompt_high=high)


def _with_shipped_prompts(found: Constants) -> Constants:
    shipped = default_constants(found.kind)
    known = {name: getattr(shipped, name) for name in OF_PROMPTS}
    if not any(known.values()):
        return found
    return replace(found, **known, source=f"{found.source}; those of prompts as shipped, {shipped.source}")


@dataclass(frozen=True, slots=True)
class Coded:
    """Where a search begins, and the constants that coded numbers stand for: every coded value is a possible one."""

    start: Array
    decode: Callable[[Array], Constants]


def _fitted(observations: Sequence[Observation], folds: int, coded: Coded) -> tuple[Constants, float, float]:
    """The constants, and the factors of the interval."""
    times = np.array([item.seconds for item in observations])
    parts = _folds(observations, folds)
    errors = np.empty(len(times))
    for part in np.unique(parts):
        held = parts == part
        found = _minimise([item for item, out in zip(observations, held, strict=True) if not out], coded)
        left = [item for item, out in zip(observations, held, strict=True) if out]
        errors[held] = np.log(times[held] / predict(left, found))
    low, high = interval_of(errors, parts) if len({item.group for item in observations}) > 1 else _quantiles(errors)
    return _minimise(observations, coded), math.exp(min(low, 0.0)), math.exp(max(high, 0.0))


def interval_of(errors: Array, groups: NDArray[np.int64]) -> tuple[float, float]:
    """For a group that is none of these: scatter within groups, and the largest shift of one on both sides."""
    medians = np.array([np.median(errors[groups == group]) for group in groups])
    low, high = _quantiles(errors - medians)
    shift = float(np.abs(medians).max())
    return low - shift, high + shift


def _quantiles(errors: Array) -> tuple[float, float]:
    """Half of what may be missed on each side; ranks as split-conformal prediction takes them."""
    count = len(errors)
    rank = min(count, math.ceil((count + 1) * (1 + COVERAGE) / 2))
    ordered = np.sort(errors)
    return float(ordered[count - rank]), float(ordered[rank - 1])


def _folds(observations: Sequence[Observation], folds: int) -> NDArray[np.int64]:
    names = sorted({item.group for item in observations})
    if len(names) > 1:
        return np.array([names.index(item.group) for item in observations])
    return np.arange(len(observations)) % folds


def _columns(observations: Sequence[Observation]) -> Array:
    """[terms, observations]"""
    return np.array([astuple(item.terms) for item in observations], np.float64).T


def _seconds(columns: Array, constants: Constants) -> Array:
    weights, kv, compute, prefill, link, layers, sums, sequences, attention = columns
    beside = 0.0 if constants.kv_share else kv
    step = np.maximum((weights + beside) / constants.bandwidth_share, compute / constants.compute_share)
    if constants.kv_share:
        step = step + kv / constants.kv_share
    prompts = prefill / (constants.prompt_share or constants.compute_share)
    prompts = prompts + attention / (constants.attention_share or constants.compute_share)
    other = prompts + link / LINK_SHARE
    return step + other + layers * constants.layer_s + sums * constants.sum_s + sequences * constants.sequence_s


def _encode(constants: Constants) -> Array:
    """Shares through a logit, times through a logarithm: every coded value is a possible one."""
    times = (constants.layer_s, constants.sum_s, constants.sequence_s)
    apart = [_logit(constants.kv_share)] if constants.kv_share else []
    shares = [_logit(constants.bandwidth_share), _logit(constants.compute_share)]
    return np.array([*shares, *(math.log(max(v, _SMALLEST_S)) for v in times), *apart])


def _logit(share: float) -> float:
    inside = min(max(share, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside))


def _decode(coded: Array) -> Constants:
    clipped = np.clip(coded, -27.0, 27.0)
    bandwidth, compute, *apart = (1 / (1 + np.exp(-clipped[[0, 1, *range(5, len(coded))]]))).tolist()
    layer_s, sum_s, sequence_s = np.exp(clipped[2:5]).tolist()
    return Constants(bandwidth, compute, layer_s, sum_s, sequence_s, kv_share=apart[0] if apart else 0.0)


def _decode_prompts(coded: Array, steps: Constants) -> Constants:
    products, attention = (1 / (1 + np.exp(-np.clip(coded, -27.0, 27.0)))).tolist()
    return replace(steps, prompt_share=products, attention_share=attention)


def _minimise(observations: Sequence[Observation], coded: Coded) -> Constants:
    columns, times = _columns(observations), np.array([item.seconds for item in observations])
    of_prompts = observations[0].is_prompt

    def loss(at: Array) -> float:
        constants = coded.decode(at)
        seconds = _seconds(columns, constants.of_prompts() if of_prompts else constants)
        return float(np.mean(np.abs(np.log(seconds / times))))

    return coded.decode(least_of(loss, coded.start))


def least_of(loss: Callable[[Array], float], start: Array) -> Array:
    """Where a loss of a few numbers, which may have corners, is least near `start`."""
    # A second start from the first answer leaves the flat simplex the first one may have ended in.
    return _simplex(loss, _simplex(loss, start))


def _simplex(loss: Callable[[Array], float], start: Array) -> Array:
    """Source: Nelder and Mead 1965."""
    points = [start, *(start + 0.5 * step for step in np.eye(len(start)))]
    values = [loss(point) for point in points]
    for _ in range(_STEPS):
        order = np.argsort(values)
        points, values = [points[i] for i in order], [values[i] for i in order]
        if values[-1] - values[0] < 1e-7:
            break
        _improve_worst(loss, points, values)
    return points[int(np.argmin(values))]


def _improve_worst(loss: Callable[[Array], float], points: list[Array], values: list[float]) -> None:
    centre = np.mean(points[:-1], axis=0)
    for step in (2.0, 1.0, 0.5, -0.5):
        candidate = centre + step * (centre - points[-1])
        value = loss(candidate)
        limit = values[0] if step == 2.0 else values[-2] if step == 1.0 else values[-1]
        if value < limit:
            points[-1], values[-1] = candidate, value
            return
    for i in range(1, len(points)):
        points[i] = points[0] + 0.5 * (points[i] - points[0])
        values[i] = loss(points[i])
