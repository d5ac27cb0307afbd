"""Damaged model files: whatever a few edits make of a sound one, it loads or is refused with an error of ours."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutants import EDITS, TELLING_VALUES, Edit, apply, outcome, write_seeds

SEEDS = ("gguf", "gguf split", "safetensors", "config", "index")
VALUES = st.one_of(st.sampled_from(TELLING_VALUES), st.integers(0, 2**64 - 1))
EDIT_LISTS = st.lists(
    st.tuples(st.sampled_from(EDITS), st.floats(0, 1, exclude_max=True), VALUES), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    return write_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("name", SEEDS)
def test_the_undamaged_files_load(seeds: dict[str, tuple[Path, Path]], name: str) -> None:
    assert outcome(seeds[name][0]) == "loaded"


@pytest.mark.parametrize("name", SEEDS)
@given(edits=EDIT_LISTS)
def test_a_damaged_file_loads_or_is_refused(seeds: dict[str, tuple[Path, Path]], name: str, edits: list[Edit]) -> None:
    path, damaged = seeds[name]
    sound = damaged.read_bytes()
    try:
        damaged.write_bytes(apply(sound, edits))
        outcome(path)
    finally:
        damaged.write_bytes(sound)
