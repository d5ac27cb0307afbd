"""The judgement of kernels: the stricter limit counts."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from kernels import judged


def test_a_kernel_is_held_against_the_stricter_limit() -> None:
    def line(name: str, unit: str, ops: float, moved_bytes: float, seconds: float) -> dict[str, object]:
        return {"name": name, "unit": unit, "ops": ops, "bytes": moved_bytes, "seconds": seconds}

    limits, found = judged([
        line("limit int8", "", 400e9, 0, 1), line("limit read", "", 0, 20e9, 1),
        line("many rows", "int8", 200e9, 1e9, 1), line("one row", "int8", 20e9, 10e9, 1),
        line("swiglu", "", 0, 1e9, 1), line("other unit", "bf16", 1e9, 1e9, 1),
    ])  # fmt: skip
    assert limits == {"int8": 400, "read": 20}
    assert [k.of_limit for k in found] == [pytest.approx(0.5), pytest.approx(0.5), None, None]
    assert (found[1].gop_s, found[1].gb_s) == (20, 10)
