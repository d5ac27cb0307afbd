"""Times to first token of measured servers: what a request takes besides its prompt, and for whose prompts it waits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wayra.plan.calibration import interval_of, least_of
from wayra.plan.roofline import Constants, Terms, first_token, speed


@dataclass(frozen=True, slots=True)
class FirstToken:
    """A measured time to first token. step, prompt: terms without those of other requests. group: the hardware."""

    step: Terms
    prompt: Terms
    batch: float
    seconds: float
    group: str


def predicted(items: Sequence[FirstToken], constants: Constants) -> np.ndarray:
    """Seconds to first token under these constants, which have an interval for them."""
    found: list[float] = []
    for item in items:
        step, prompt = speed(item.step, constants), speed(item.prompt, constants.of_prompts())
        first = first_token(step, prompt, item.batch, constants)
        if first is None:
            raise ValueError("these constants say nothing about first tokens")
        found.append(first.seconds)
    return np.array(found)


def with_first_tokens(items: Sequence[FirstToken], constants: Constants) -> Constants:
    """The constants of times of tokens with those of first tokens: the least mean absolute log error of two numbers.

    The interval is made as that of times of tokens, from hardware left out of the fit.
    """
    groups = np.array([item.group for item in items])
    times = np.array([item.seconds for item in items])
    errors = np.empty(len(items))
    for group in np.unique(groups):
        held = groups == group
        found = _fitted([item for item in items if item.group != group], constants)
        left = [item for item in items if item.group == group]
        errors[held] = np.log(times[held] / predicted(left, found))
    low, high = interval_of(errors, groups)
    return replace(
        _fitted(items, constants), first_low=float(np.exp(min(low, 0.0))), first_high=float(np.exp(max(high, 0.0)))
    )


def _fitted(items: Sequence[FirstToken], constants: Constants) -> Constants:
    steps = np.array([speed(item.step, constants).seconds for item in items])
    prompts = np.array([speed(item.prompt, constants.of_prompts()).seconds for item in items])
    batches = np.array([item.batch for item in items])
    times = np.array([item.seconds for item in items])

    def loss(coded: np.ndarray) -> float:
        first_token_s, wait_share = np.exp(coded)
        seconds = first_token_s + (1 + wait_share * batches) * prompts + steps
        return float(np.mean(np.abs(np.log(seconds / times))))

    first_token_s, wait_share = np.exp(least_of(loss, np.log([0.05, 0.1]))).tolist()
    return replace(
        constants, first_token_s=first_token_s, wait_share=min(wait_share, 1.0), first_low=1.0, first_high=1.0
    )
