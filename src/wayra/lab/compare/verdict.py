"""What a comparison says in words: only what is significant, and what it would take to settle the rest."""

from collections.abc import Sequence

from wayra.lab.compare.quality import Tested
from wayra.lab.compare.tables import Raced


def verdict(tested: Sequence[Tested], raced: Sequence[Raced]) -> list[str]:
    """Sentences, the settled ones first."""
    return [*_answers(tested), *_speeds(raced), *(_open(one) for one in tested if not one.is_significant)]


def _answers(tested: Sequence[Tested]) -> list[str]:
    if not tested:
        return ["No benchmark was asked of two models, so nothing is said of which answers better."]
    settled = [one for one in tested if one.is_significant]
    if not settled:
        return ["No benchmark shows a significant difference. That is not proof that there is none."]
    return [_better(one) for one in settled]


def _better(one: Tested) -> str:
    better, worse = (one.second, one.first) if one.difference > 0 else (one.first, one.second)
    high, low = max(one.first_value, one.second_value), min(one.first_value, one.second_value)
    sign = 1 if one.difference > 0 else -1
    bounds = sorted((100 * sign * one.low, 100 * sign * one.high))
    return (
        f"{better} is better than {worse} on {one.suite} ({one.metric}): {100 * high:.1f} against {100 * low:.1f}, "
        f"a difference of {bounds[0]:.1f} to {bounds[1]:.1f} points (p = {one.adjusted_p:.2g} after Holm)."
    )


def _speeds(raced: Sequence[Raced]) -> list[str]:
    """A sentence for each model that is faster in something, and one where nothing is."""
    said: list[str] = []
    for first, second in dict.fromkeys((one.first, one.second) for one in raced):
        pair = [one for one in raced if (one.first, one.second) == (first, second)]
        for faster, slower in ((first, second), (second, first)):
            found = [_times(one) for one in pair if one.is_significant and _faster(one) == faster]
            if found:
                said.append(f"{faster} is faster than {slower}: {'; '.join(found)}.")
        if not any(one.is_significant for one in pair):
            said.append(f"No speed of {first} and {second} differs significantly in {pair[0].rounds} rounds.")
    return said


def _faster(one: Raced) -> str:
    return one.second if (one.ratio > 1) == one.higher_is_better else one.first


def _times(one: Raced) -> str:
    """How many times as fast, whichever way the ratio was taken."""
    is_inverse = one.ratio < 1
    bounds = sorted((1 / one.low, 1 / one.high)) if is_inverse else (one.low, one.high)
    ratio = 1 / one.ratio if is_inverse else one.ratio
    what = "times the rate" if one.higher_is_better else "times as soon"
    return f"{one.name} {ratio:.2f} {what} ({bounds[0]:.2f} to {bounds[1]:.2f})"


def _open(one: Tested) -> str:
    items = "item" if one.count == 1 else "items"
    between = f"{one.suite} ({one.metric}), {one.first} and {one.second}: open after {one.count} {items}"
    if one.settling_items is None or one.settling_delta is None:
        if abs(one.difference) > 1e-9:
            return f"{between}; all differ by the same, so that nothing tells how many would settle it."
        return f"{between}; the answers scored alike on every one."
    what = f"{100 * one.settling_delta:.1f} points"
    seen = "as large as the one seen" if abs(one.difference) > 1e-9 else "where none was seen"
    return f"{between}; about {max(one.settling_items, one.count):,} would settle a difference of {what}, {seen}."
