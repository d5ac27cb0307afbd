"""Fits the constants of the roofline to measured runs, with intervals from hardware (or runs) left out of the fit."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import InvalidParameter
from wayra.plan.constants import default_constants
from wayra.plan.roofline import LINK_SHARE, Constants, Terms

SUMS = 6
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

    kind: of the hardware.
    """

    terms: Terms
    seconds: float
    group: str
    kind: str = ""

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
    Raises: InvalidParameter with fewer than MIN_RUNS observations, or with several kinds of hardware.
    """
    kinds = sorted({item.kind for item in observations})
    if len(kinds) > 1:
        raise InvalidParameter(f"the runs are of several kinds of hardware ({', '.join(kinds)}); calibrate each alone")
    if len(observations) < MIN_RUNS:
        raise InvalidParameter(f"{len(observations)} runs to calibrate with; expected {MIN_RUNS} or more")
    columns = _columns(observations)
    times = np.array([item.seconds for item in observations])
    start = START_ON_CPU if kinds[0] == "cpu" else START
    parts = _folds(observations, folds)
    errors = np.empty(len(times))
    for part in np.unique(parts):
        held = parts == part
        found = _minimise(columns[:, ~held], times[~held], start)
        errors[held] = np.log(times[held] / _seconds(columns[:, held], found))
    low, high = _interval(errors, parts) if len({item.group for item in observations}) > 1 else _quantiles(errors)
    best = _minimise(columns, times, start)
    if not columns[SUMS].any():
        # No run shares a model over cards, so any value fits.
        best = replace(best, sum_s=default_constants(kinds[0]).sum_s if kinds[0] else 0.0)
    return replace(best, low=math.exp(min(low, 0.0)), high=math.exp(max(high, 0.0)), source=source, kind=kinds[0])


def _interval(errors: Array, groups: NDArray[np.int64]) -> tuple[float, float]:
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
    weights, kv, compute, prefill, link, layers, sums, sequences = columns
    beside = 0.0 if constants.kv_share else kv
    step = np.maximum((weights + beside) / constants.bandwidth_share, compute / constants.compute_share)
    if constants.kv_share:
        step = step + kv / constants.kv_share
    other = prefill / constants.compute_share + link / LINK_SHARE
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


def _minimise(columns: Array, times: Array, start: Constants) -> Constants:
    """Nelder and Mead's simplex over the coded constants: five numbers or six, a loss with corners."""

    def loss(coded: Array) -> float:
        return float(np.mean(np.abs(np.log(_seconds(columns, _decode(coded)) / times))))

    first = _simplex(loss, _encode(start))
    # A second start from the first answer leaves the flat simplex the first one may have ended in.
    return _decode(_simplex(loss, first))


def _simplex(loss: Callable[[Array], float], start: Array) -> Array:
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
