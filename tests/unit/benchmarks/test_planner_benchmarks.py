"""What the planner's benchmarks write: constants in the package's file, and models whose shape is the one asked for."""

import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from measuring import shipped_constants
from random_model import Shape, write_model

from wayra.base import formats
from wayra.base.formats import WeightFormat
from wayra.plan.constants import default_constants
from wayra.plan.reading import describe
from wayra.plan.roofline import Constants

MINE = Constants(0.61234567, 0.5, 2e-5, 0.0, 1e-5, 0.9, 1.2, "a test", "cpu")


@pytest.mark.parametrize("kind", ["gpu", "unified", "cpu"])
def test_fitted_constants_replace_those_of_their_kind_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shipped_constants.SHIPPED.read_text("utf-8")
    copy = tmp_path / "constants.toml"
    copy.write_text(before, "utf-8")
    monkeypatch.setattr(shipped_constants, "SHIPPED", copy)
    shipped_constants.write_shipped(kind, MINE)
    old, new = tomllib.loads(before), tomllib.loads(copy.read_text("utf-8"))
    assert new[kind]["bandwidth_share"] == 0.6123
    assert new[kind]["source"] == "a test"
    assert {name: new[name] for name in new if name != kind} == {name: old[name] for name in old if name != kind}
    assert copy.read_text("utf-8").startswith("# Constants of the roofline")


def test_writing_what_is_shipped_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shipped_constants.SHIPPED.read_text("utf-8")
    copy = tmp_path / "constants.toml"
    copy.write_text(before, "utf-8")
    monkeypatch.setattr(shipped_constants, "SHIPPED", copy)
    for kind in ("gpu", "unified", "cpu"):
        shipped_constants.write_shipped(kind, default_constants(kind))
    assert tomllib.loads(copy.read_text("utf-8")) == tomllib.loads(before)


@pytest.mark.parametrize(("fmt", "bits"), [(formats.Q8_0, 8.5), (formats.Q4_0, 4.5), (formats.BF16, 16)])
def test_the_planner_reads_a_random_model_as_what_was_asked_for(
    fmt: WeightFormat, bits: float, smollm2_path: Path, tmp_path: Path
) -> None:
    del smollm2_path  # its tokenizer is borrowed
    path = tmp_path / "random.gguf"
    write_model("random", Shape(2, 128, 4, 2, 32, 256, 49_152, True, 1e4, 8192), fmt, path)
    found = describe(str(path))
    assert (found.model.num_layers, found.model.hidden_size, found.model.num_kv_heads) == (2, 128, 2)
    assert (found.model.context_len, found.model.tied) == (8192, True)
    # Two layers of 128 * (2 * 128 + 2 * 64) + 3 * 128 * 256, and one table of 49,152 * 128.
    assert found.model.linear == 2 * (128 * 384 + 3 * 128 * 256)
    assert found.stored is not None
    assert found.stored.linear_bits == pytest.approx(bits)
