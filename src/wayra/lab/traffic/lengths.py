"""Distributions of prompt and answer lengths: "128", "64..256", "normal(512,128)", "lognormal(512,0.8)"."""

import math
import re
from dataclasses import dataclass

import numpy as np

from wayra.base.errors import InvalidParameter

MAX_LEN = 1 << 20
_FORM = re.compile(r"^(?:(\d+)|(\d+)\.\.(\d+)|(normal|lognormal)\(([0-9.]+),([0-9.]+)\))$")


@dataclass(frozen=True, slots=True)
class Lengths:
    """kind: "fixed" (first), "uniform" (first to second), "normal" (mean, deviation), "lognormal" (median, sigma)."""

    kind: str
    first: float
    second: float = 0.0
    text: str = ""

    def draw(self, generator: np.random.Generator) -> int:
        """At least 1; normal and lognormal are cut at four times the middle."""
        if self.kind == "fixed":
            return int(self.first)
        if self.kind == "uniform":
            return int(generator.integers(int(self.first), int(self.second) + 1))
        if self.kind == "normal":
            value = generator.normal(self.first, self.second)
        else:
            value = math.exp(generator.normal(math.log(self.first), self.second))
        return max(1, min(round(value), int(4 * self.first), MAX_LEN))


def parse_lengths(text: str) -> Lengths:
    """Raises InvalidParameter naming the forms."""
    found = _FORM.match(text.replace(" ", ""))
    try:
        if found is None:
            raise ValueError
        if found[1]:
            lengths = Lengths("fixed", int(found[1]), 0.0, text)
        elif found[2]:
            lengths = Lengths("uniform", int(found[2]), int(found[3]), text)
        else:
            lengths = Lengths(found[4], float(found[5]), float(found[6]), text)
    except ValueError as error:
        raise InvalidParameter(
            f"length {text[:60]!r}: expected N, LOW..HIGH, normal(MEAN,DEVIATION) or lognormal(MEDIAN,SIGMA)"
        ) from error
    highest = lengths.second if lengths.kind == "uniform" else lengths.first
    if not 1 <= lengths.first <= MAX_LEN or not lengths.first <= highest <= MAX_LEN or lengths.second > MAX_LEN:
        raise InvalidParameter(f"length {text[:60]!r}: expected 1 to {MAX_LEN:,} tokens, the lower bound first")
    return lengths
