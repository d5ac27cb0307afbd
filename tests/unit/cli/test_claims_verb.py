"""wayra claims, in this process: what it prints, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wayra.cli.main import main

pytest.importorskip("genai_prices")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> tuple[int, str, str]:
        code = main(["claims", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_claim_is_printed_with_derivation_and_verdict(call: Call):
    code, out, _ = call("--id", "A050")
    assert code == 0
    assert out.splitlines() == [
        "A050  Llama 70B on H100 PCIe @1.99/h: cost",
        "      claimed  2.00..2.44 USD/Mtok",
        "      derived  0.5025 to 0.6142 USD/Mtok = usd_per_mtok(A048, high(A049)) .. usd_per_mtok(A048, low(A049))",
        "      verdict  off: too high by a factor of 3.97 to 3.98",
        "",
        "1 claims: 1 off",
    ]


def test_explain_shows_every_number_on_the_way_with_its_source(call: Call):
    _, out, _ = call("--id", "A002", "--explain")
    assert "input_usd_per_mtok = 2.5 USD/Mtok  [openai gpt-4o: genai-prices" in out


def test_json_has_all_245_claims_as_one_line(call: Call):
    _, out, _ = call("--json")
    (line,) = out.splitlines()
    rows = json.loads(line)
    assert len(rows) == 245
    assert rows[0]["verdict"] == "off"
    assert rows[0]["derived_low"] == 0.88


def test_verdicts_choose_claims(call: Call):
    _, out, _ = call("--verdict", "holds roughly", "--json")
    assert {row["verdict"] for row in json.loads(out)} == {"holds roughly"}


def test_a_claim_to_be_measured_names_the_command(call: Call):
    _, out, _ = call("--id", "A027")
    assert "verdict  not measured" in out
    assert "measure  wayra eval MODEL --suite humaneval" in out


def test_a_run_settles_it(call: Call, tmp_path: Path):
    (tmp_path / "run.json").write_text('[{"claim": "A027", "value": 400, "unit": "tok", "run": "r7"}]', "utf-8")
    _, out, _ = call("--id", "A027", "--measure", str(tmp_path / "run.json"))
    assert "derived  400 tok = run r7, as run.json, result 1 states it" in out
    assert "verdict  off: too high by a factor of 3" in out


def test_a_file_of_ones_own_is_judged(call: Call, tmp_path: Path):
    (tmp_path / "mine.csv").write_text(
        "id,subject,metric,claimed,unit,check,derivation\n"
        'M1,my GPU,cost,2,USD/Mtok,arithmetic,"usd_per_mtok(1.99, 1000)"\n',
        "utf-8",
    )
    code, out, _ = call(str(tmp_path / "mine.csv"))
    assert code == 0
    assert "derived  0.5528 USD/Mtok" in out
    assert "too high by a factor of 3.62" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--id", "Z9"), "there is no claim 'Z9'; ids run from A001 to C037"),
        (("absent.csv",), "absent.csv cannot be read: No such file or directory"),
        (("--verdict", "maybe"), "'maybe' is not one of"),
        (("--measure", "absent.json"), "absent.json cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(call: Call, args: tuple[str, ...], message: str):
    code, out, err = call(*args)
    assert code != 0
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_suites_named_by_commands_that_measure_exist(call: Call):
    from wayra.lab.suites.registry import SUITES
    from wayra.lab.suites.task_suites import ALL

    _, out, _ = call("--json")
    named = {row["lab"].partition("--suite ")[2] for row in json.loads(out)} - {""}
    assert named
    assert named <= {*SUITES, ALL}
