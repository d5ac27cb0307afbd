"""Measured limits are those of real work: positive, for every instruction set, and refused in a sentence."""

import pytest
from backend_registry import BACKENDS

from wayra.backends.native import _native
from wayra.backends.native.isa import library_of
from wayra.backends.native.peaks import measure_peaks
from wayra.base.errors import BackendError, InvalidParameter


@pytest.mark.parametrize("name", [name for name in BACKENDS if name.startswith("native-")])
def test_every_library_can_be_measured(name: str) -> None:
    peaks = measure_peaks(1, threads=1, isa=name.removeprefix("native-"), seconds=0.0)
    assert 0.1 < peaks.read_gb_s < 10_000
    for rate in (peaks.int8_gop_s, peaks.bf16_gop_s, peaks.f32_gop_s):
        assert 0.1 < rate < 1_000_000


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(BackendError, match="'sse9' is not available"):
        measure_peaks(1, isa="sse9")
    with pytest.raises(InvalidParameter, match="threads is 0"):
        measure_peaks(1, threads=0)
    with pytest.raises(ValueError, match="bad size of a probe"):
        _native.probe(str(library_of(_native.cpu_info()["isas"][0])), 1, 5, 0.1)
