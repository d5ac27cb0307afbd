"""How many tokens to guess for each sequence of a step: as many as make the step give the most tokens a second.

A pure function of estimates. A further guess makes the step longer for everybody in it and gives a token with some
probability, so the likeliest guesses of all sequences come first and the best number of them is taken: many when a
sequence is alone and copies, none when the step is full anyway.
"""

from collections.abc import Sequence

MIN_GAIN = 1.02
"""What looks like less than this is within the error of the estimates."""


def least_chance(num_seqs: int, step_s: Sequence[float]) -> float:
    """How likely right the likeliest guess has to be for any number of guesses to pay; above 1 none can.

    step_s: see `choose_lengths`. A bound that costs nothing to check: in most steps no guess reaches it.
    """
    least_rate = num_seqs / step_s[0] * MIN_GAIN
    return min((least_rate * seconds - num_seqs) / more for more, seconds in enumerate(step_s) if more)


def choose_lengths(
    chances: Sequence[Sequence[float]], num_seqs: int, step_s: Sequence[float], depth_s: float
) -> list[int]:
    """The number of guesses for each sequence.

    chances: of each sequence that can be guessed, the probability that its guess and all before it are right, falling.
    num_seqs: sequences in the step, which give a token each in any case.
    step_s: seconds of the step with 0, 1, ... guesses in all. depth_s: seconds that one more guess in a row takes.
    """
    order = sorted(
        ((chance, -depth, index) for index, row in enumerate(chances) for depth, chance in enumerate(row)), reverse=True
    )
    best_rate, best_count = num_seqs / step_s[0] * MIN_GAIN, 0
    expected, deepest = float(num_seqs), 0
    for count, (chance, minus_depth, _) in enumerate(order[: len(step_s) - 1], 1):
        expected += chance
        deepest = max(deepest, 1 - minus_depth)
        rate = expected / (step_s[count] + deepest * depth_s)
        if rate > best_rate:
            best_rate, best_count = rate, count
    lengths = [0] * len(chances)
    for _, _, index in order[:best_count]:
        lengths[index] += 1
    return lengths
