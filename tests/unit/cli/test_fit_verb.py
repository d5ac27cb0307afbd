"""wayra fit, in this process: names, files and pulled models, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wayra.cli.main import main
from wayra.plan.constants import default_constants

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("WAYRA_CACHE", str(tmp_path / "cache"))

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["fit", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_name_on_a_card_is_weighed_in_sixteen_bits(call: Call):
    code, out, _ = call("llama3.1:8b", "--gpu", "h100", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["format"], found["gpus"], found["fits"]) == ("bf16", 1, True)
    assert found["memory_bytes"]["weights"] == 16_060_522_496


def test_a_short_name_on_this_machine_is_weighed_as_it_would_be_pulled(call: Call):
    code, out, _ = call("llama3.2:1b", "--cpu", "--context", "2k", "--json")
    assert code == 0
    assert json.loads(out)["format"] == "q4_k_m"


def test_on_a_card_a_prompts_time_says_that_nothing_measured_stands_behind_it(call: Call):
    code, out, _ = call("llama3.1:8b", "--gpu", "h100", "--batch", "8", "--json")
    assert code == 0
    speeds = json.loads(out)["speed"]
    assert {name: row["validated"] for name, row in speeds.items()} == {
        "decode_step": True, "prefill": False, "first_token": True,
    }  # fmt: skip
    assert (speeds["prefill"]["low"], speeds["prefill"]["high"]) == (None, None)
    assert speeds["first_token"]["low"] < speeds["first_token"]["seconds"] < speeds["first_token"]["high"]
    code, out, _ = call("llama3.1:8b", "--gpu", "h100", "--batch", "65", "--context", "2k")
    assert code == 0
    assert out.count("not validated") == 2


def test_cards_that_cannot_share_the_heads_have_a_memory_and_no_times(call: Call):
    code, out, _ = call("llama3.1:8b", "--gpu", "h100", "--gpus", "3", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["gpus"], found["fits"], found["speed"]) == (3, True, {})
    assert any("pipeline parallelism" in note for note in found["notes"])
    code, out, _ = call("llama3.1:8b", "--gpu", "h100", "--gpus", "3")
    assert (code, "Fits on 3" in out, "decode step" in out) == (0, True, False)
    code, _, err = call("llama3.1:8b", "--gpu", "h100", "--gpus", "33")
    assert (code, err.count("\n")) == (2, 1)
    assert "ask for fewer" in err


def test_on_this_machine_a_prompts_time_has_the_interval_of_measured_ones(call: Call, smollm2_path: Path):
    code, out, _ = call(str(smollm2_path), "--cpu", "--context", "2k", "--json")
    assert code == 0
    speeds = json.loads(out)["speed"]
    assert list(speeds) == ["decode_step", "prefill"]
    prefill, shipped = speeds["prefill"], default_constants("cpu")
    assert prefill["low"] == pytest.approx(prefill["seconds"] * shipped.prompt_low)
    assert prefill["high"] == pytest.approx(prefill["seconds"] * shipped.prompt_high)
    # Which is the largest depends on what the machine has left just now.
    assert prefill["bounded_by"] == max(prefill["shares"], key=prefill["shares"].get)
    assert sum(prefill["shares"].values()) == pytest.approx(1)
    assert prefill["shares"]["attention of prompts"] > prefill["shares"]["fixed time a layer"]


def test_a_file_is_weighed_as_stored(call: Call, smollm2_path: Path, tmp_path: Path):
    copy = tmp_path / "my model.gguf"
    shutil.copy(smollm2_path, copy)
    code, out, _ = call(str(copy), "--gpu", "l4", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["format"], found["parameters"]) == ("as stored", 134_515_008)


def test_an_unknown_name_is_refused_with_what_to_do(call: Call):
    code, out, err = call("someone/some-model", "--gpu", "h100")
    assert code == 2
    assert out == ""
    assert "or give a config.json or a GGUF file, or pull it first (wayra pull someone/some-model)" in err


@pytest.mark.parametrize("args", [("--gpu", "h100", "--cpu"), (), ("--gpu", "h100", "--context", "many")])
def test_wrong_usage_is_one_sentence(call: Call, args: tuple[str, ...]):
    code, out, err = call("llama3", *args)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1


def test_constants_of_another_kind_of_hardware_are_refused(call: Call, tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "bandwidth_share = 0.5\ncompute_share = 0.5\nlayer_s = 0\nsum_s = 0\nsequence_s = 0\nlow = 1\nhigh = 1\n"
        'kind = "cpu"\n'
    )
    code, _, err = call("llama3", "--gpu", "h100", "--constants", str(path))
    assert code == 2
    assert "of the kind cpu, wanted are those of gpu" in err
