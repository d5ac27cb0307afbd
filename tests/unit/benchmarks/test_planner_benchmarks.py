"""What the planner's benchmarks write: constants in the package's file, and models whose shape is the one asked for."""

import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from measuring import shipped_constants
from measuring.random_gguf import Shape, write_random_model

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


@pytest.mark.parametrize(("fmt", "bits"), [("Q8_0", 8.5), ("Q4_0", 4.5), ("BF16", 16)])
def test_a_random_model_has_the_shape_and_format_asked_for(
    fmt: str, bits: float, smollm2_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "random.gguf"
    write_random_model(Shape("random", 2, 128, 4, 2, 32, 256, fmt), smollm2_path, path)
    found = describe(str(path))
    assert (found.model.num_layers, found.model.hidden_size, found.model.num_kv_heads) == (2, 128, 2)
    # Two layers of 128 * (2 * 128 + 2 * 64) + 3 * 128 * 256, and one table of 49,152 * 128.
    assert found.model.linear == 2 * (128 * 384 + 3 * 128 * 256)
    assert found.stored is not None
    assert found.stored.linear_bits == pytest.approx(bits)
