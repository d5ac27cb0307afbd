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
START_ON_CPU = replace(START, kv_share=0.6, rows_share=0.6, attention_share=0.6)
MIN_RUNS = 8
LEAST_LENGTHS = 4
"""Longest by shortest prompt."""
COVERAGE = 0.9
_STEPS = 1500
_FIRST_SHARES = (0.7, 0.9)
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
    return _seconds(_columns(observations), constants)


def fit_constants(observations: Sequence[Observation], *, source: str = "", folds: int = 5) -> Constants:
    """The constants with the least mean absolute log error, and an interval for what was not in the fit.

    The interval is of the errors each group shows when the fit has not seen it: the quantile of their scatter around
    the group's median, corrected for a finite sample, and beyond it the largest median of any group, for new hardware
    (or a new model) has a shift of its own. Where there is one group, that of `folds` parts of its runs, without shift.
    Times of steps give all constants but those of prompts, for which prompts fewer than MIN_RUNS, or of like lengths,
    leave what is shipped.
    Raises: InvalidParameter with fewer than MIN_RUNS times of steps, or with several kinds of hardware.
    """
    kinds = sorted({item.kind for item in observations})
    if len(kinds) > 1:
        raise InvalidParameter(f"the runs are of several kinds of hardware ({', '.join(kinds)}); calibrate each alone")
    steps = [item for item in observations if not item.is_prompt]
    if len(steps) < MIN_RUNS:
        raise InvalidParameter(f"{len(steps)} runs to calibrate with; expected {MIN_RUNS} or more")
    kind = kinds[0]
    prompts = [item for item in observations if item.is_prompt]
    if kind != "cpu" or len(prompts) < MIN_RUNS or not _of_several_lengths(prompts):
        prompts = []
    start = replace(START_ON_CPU if kind == "cpu" else START, source=source, kind=kind)
    if not prompts:
        start = _with_shipped_prompts(start)
    best, errors, groups = _fitted([*steps, *prompts], folds, start)
    if not any(item.terms.sums for item in steps):
        # No run shares a model over cards, so any value fits.
        best = replace(best, sum_s=default_constants(kind).sum_s if kind else 0.0)
    low, high = _factors(errors[: len(steps)], groups[: len(steps)])
    best = replace(best, low=low, high=high)
    if not prompts:
        return best
    low, high = _factors(errors[len(steps) :], groups[len(steps) :])
    return replace(best, prompt_low=low, prompt_high=high)


def _of_several_lengths(prompts: Sequence[Observation]) -> bool:
    """Whether products and attention can be told apart: the share of attention grows with the length."""
    ratios = [item.terms.attention_s / item.terms.compute_s for item in prompts]
    return max(ratios) >= LEAST_LENGTHS * min(ratios)


def _with_shipped_prompts(found: Constants) -> Constants:
    if not found.kind:
        return found
    shipped = default_constants(found.kind)
    known = {name: getattr(shipped, name) for name in OF_PROMPTS}
    if not any(known.values()):
        return replace(found, attention_share=0.0)
    return replace(found, **known, source=f"{found.source}; those of prompts as shipped, {shipped.source}")


def _fitted(
    observations: Sequence[Observation], folds: int, start: Constants
) -> tuple[Constants, Array, NDArray[np.int64]]:
    """The constants; the log errors that each group (or part of the one there is) shows out of the fit; the groups."""
    times = np.array([item.seconds for item in observations])
    parts = _folds(observations, folds)
    errors = np.empty(len(times))
    for part in np.unique(parts):
        held = parts == part
        found = _minimise([item for item, out in zip(observations, held, strict=True) if not out], start)
        left = [item for item, out in zip(observations, held, strict=True) if out]
        errors[held] = np.log(times[held] / predict(left, found))
    several = len({item.group for item in observations}) > 1
    return _minimise(observations, start), errors, parts if several else np.zeros_like(parts)


def _factors(errors: Array, groups: NDArray[np.int64]) -> tuple[float, float]:
    low, high = interval_of(errors, groups) if len(np.unique(groups)) > 1 else _quantiles(errors)
    return math.exp(min(low, 0.0)), math.exp(max(high, 0.0))


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
    weights, kv, compute, prefill, link, layers, sums, sequences, attention, rows = columns
    beside = 0.0 if constants.kv_share else kv
    step = np.maximum((weights + beside) / constants.bandwidth_share, compute / constants.compute_share)
    if constants.kv_share:
        step = step + kv / constants.kv_share
    prompts = prefill / constants.compute_share + attention / (constants.attention_share or constants.compute_share)
    other = prompts + link / LINK_SHARE + (rows / constants.rows_share if constants.rows_share else 0.0)
    return step + other + layers * constants.layer_s + sums * constants.sum_s + sequences * constants.sequence_s


_SHARES = ("bandwidth_share", "compute_share", "kv_share", "rows_share", "attention_share")
_TIMES = ("layer_s", "sum_s", "sequence_s")


def _encode(constants: Constants, shares: Sequence[str]) -> Array:
    """Shares through a logit, times through a logarithm: every coded value is a possible one."""
    coded = [_logit(getattr(constants, name)) for name in shares]
    return np.array([*coded, *(math.log(max(getattr(constants, name), _SMALLEST_S)) for name in _TIMES)])


def _logit(share: float) -> float:
    inside = min(max(share, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside))


def _decode(coded: Array, shares: Sequence[str], start: Constants) -> Constants:
    clipped = np.clip(coded, -27.0, 27.0)
    found = (1 / (1 + np.exp(-clipped[: len(shares)]))).tolist() + np.exp(clipped[len(shares) :]).tolist()
    return replace(start, **dict(zip((*shares, *_TIMES), found, strict=True)))


def _minimise(observations: Sequence[Observation], start: Constants) -> Constants:
    columns, times = _columns(observations), np.array([item.seconds for item in observations])
    with_attention = any(item.is_prompt for item in observations)
    shares = [name for name in _SHARES if getattr(start, name) > 0 and (with_attention or name != "attention_share")]

    def loss(coded: Array) -> float:
        return float(np.mean(np.abs(np.log(_seconds(columns, _decode(coded, shares, start)) / times))))

    # The loss has several valleys: from one start it may end where a share stays at a whole.
    starts = [start, *(replace(start, **dict.fromkeys(shares, share)) for share in _FIRST_SHARES)]
    found = [least_of(loss, _encode(each, shares)) for each in starts]
    return _decode(min(found, key=loss), shares, start)


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
