"""What a hostile user gives the verbs of the planner: one sentence each, a code that is not 0, no traceback."""

import json
from pathlib import Path

import pytest

from wayra.cli.main import main

ON = ("--gpu", "h100")
LOAD = ("--input-tokens", "800", "--output-tokens", "200", "--requests-per-month", "1000")
FILES = ("folder", "nothing", "bytes", "empty", "endless")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A folder, nothing at all, random bytes, an empty file, one without an end."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "empty").touch()
    (tmp_path / "endless").symlink_to("/dev/zero")
    return {name: tmp_path / name for name in FILES}


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one sentence on standard error."""
    code = main(list(args))
    out, err = capsys.readouterr()
    assert code in (1, 2), (code, out, err)
    assert out == ""
    assert err.startswith("wayra: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    "before",
    [
        ("fit", "llama3.1:8b", *ON, "--constants"),
        ("plan", *LOAD, "--prices"),
        ("plan", *LOAD, "--scores"),
        ("plan", *LOAD, "--constants"),
        ("plan",),
        ("claims",),
        ("claims", "--measure"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(
    before: tuple[str, ...], kind: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, *before, str(files[kind]))
    if kind == "endless":
        assert "has more than" in told
    elif kind in ("folder", "nothing"):
        assert "cannot be read" in told


@pytest.mark.parametrize("kind", FILES)
def test_files_known_by_their_ending_are_read_as_carefully(
    kind: str, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for args in (("fit", "{}.json", *ON), ("calibrate", "{}.csv"), ("deploy", "{}.json", "--docker")):
        name = next(arg for arg in args if arg.startswith("{}"))
        path = tmp_path / name.format(kind)
        if kind != "nothing" and not path.is_symlink():
            path.symlink_to(files[kind])
        refused(capsys, *(str(path) if arg == name else arg for arg in args))


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-of-this-name/model", "a\x00b", "\x1b[31mred", "a\nb"])
def test_a_name_no_file_can_have_is_an_unknown_model(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "fit", name, *ON)
    assert "the planner knows no model" in told
    assert len(told) < 400
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "names no architecture"),
        ({"architectures": []}, "names no architecture"),
        ({"architectures": "LlamaForCausalLM"}, "expected a list of texts"),
        ({"architectures": ["LlamaForCausalLM"]}, "lacks num_hidden_layers"),
        ({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": "32"}, "expected an integer"),
        ({"architectures": ["Rwkv5ForCausalLM"]}, "cannot size it like Llama: config.json lacks num_hidden_layers"),
        (None, "expected an object"),
        ([1], "expected an object"),
    ],
)
def test_a_config_with_missing_or_wrong_fields_is_one_sentence(
    config: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert message in refused(capsys, "fit", str(tmp_path / "config.json"), *ON)


def test_a_rate_given_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "plan", *LOAD, "--requests-per-s", "3")
    assert "--requests-per-s and --requests-per-month say the same thing twice" in told


def test_a_closed_model_cannot_be_pulled_and_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "fit", "GPT-4", *ON)
    assert "OpenAI has not published its weights" in told
    assert "pull" not in told


@pytest.mark.parametrize(
    ("flags", "both"),
    [
        (("--latency-p95", "0.001", "--privacy", "no-third-party"), "latency and privacy"),
        (("--budget", "1", "--privacy", "no-third-party"), "monthly budget and privacy"),
        (("--quality", "mmlu=90", "--open-weights"), "open weights and quality"),
    ],
)
def test_of_an_impossible_workload_the_two_constraints_that_conflict_are_named(
    flags: tuple[str, ...], both: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("genai_prices")
    assert main(["plan", *LOAD, "--model", "llama3.1:8b", "--model", "gpt-4.1", *flags]) == 0
    assert f"Nothing meets it: no option meets {both} together" in capsys.readouterr().out
