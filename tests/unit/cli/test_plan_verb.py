"""wayra plan, in this process: scenarios, flags, files, and refusals."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wayra.cli.main import main

pytest.importorskip("genai_prices")

Call = Callable[..., tuple[int, str, str]]
SMALL = ("--input-tokens", "800", "--output-tokens", "200", "--requests-per-month", "100000")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> tuple[int, str, str]:
        code = main(["plan", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_flags_alone_make_a_plan_with_cost_and_evidence(call: Call):
    code, out, _ = call(*SMALL, "--model", "gpt-4o", "--quality", "mmlu=80")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "workload: 100 Mtok a month, 0.1522 requests/s at the peak"
    assert lines[2] == "  1  400 USD a month, 4 USD/Mtok  GPT-4o, API of openai"
    assert re.fullmatch(
        r"       USD/Mtok: 2.5 of the prompt, 1.25 of the prompt in the provider's cache, 10 of the answer "
        r"\[openai gpt-4o: genai-prices [\d.]+, 20\d\d-\d\d-\d\d\]",
        lines[3],
    )
    assert lines[4] == "       quality: mmlu 85.7 [simple-evals, 2025-04-30]"


def test_a_scenario_is_changed_by_flags(call: Call):
    code, out, _ = call(
        "--scenario", "startup-chatbot", "--model", "llama-3.3-70b", "--privacy", "no-third-party", "--json"
    )
    assert code == 0
    made = json.loads(out)
    assert made["workload"]["name"] == "Start-up chatbot"
    assert {option["kind"] for option in made["options"]} <= {"rented", "owned"}
    api = [option for option in made["rejected"] if option["kind"] == "api"]
    assert all(option["failures"][0]["constraint"] == "privacy" for option in api)


def test_a_rate_given_as_a_flag_replaces_the_files_own(call: Call):
    code, out, _ = call("--scenario", "startup-chatbot", "--requests-per-s", "1", "--model", "gpt-4o", "--json")
    assert code == 0
    assert json.loads(out)["workload"]["traffic"]["requests_per_month"] == 730 * 3600


def test_this_machine_is_weighed_when_asked_for(call: Call):
    code, out, _ = call(*SMALL, "--model", "llama-3.2-1b", "--gpu", "l4", "--here", "--json")
    assert code == 0
    made = json.loads(out)
    here = [option for option in made["options"] + made["rejected"] if "this machine" in option["label"]]
    assert {option["kind"] for option in here} == {"have"}
    assert len(here) == 3


def test_constants_must_say_for_which_hardware_they_are(call: Call, tmp_path: Path):
    text = "bandwidth_share = 0.5\ncompute_share = 0.5\nlayer_s = 0\nsum_s = 0\nsequence_s = 0\nlow = 0.9\nhigh = 1.1\n"
    path = tmp_path / "mine.toml"
    path.write_text(text)
    code, _, err = call(*SMALL, "--model", "llama-3.2-1b", "--constants", str(path))
    assert code == 2
    assert 'mine.toml does not say for which hardware it is; add kind = "gpu" or "cpu"' in err
    path.write_text(text + 'kind = "gpu"\nsource = "my runs"\n')
    code, out, _ = call(*SMALL, "--model", "llama-3.2-1b", "--gpu", "l4", "--constants", str(path), "--json")
    assert code == 0
    rented = next(option for option in json.loads(out)["options"] if option["kind"] == "rented")
    assert any("constants my runs" in risk for risk in rented["risks"])


def test_explain_reaches_price_list_and_formula(call: Call):
    code, out, _ = call(*SMALL, "--model", "gpt-4o", "--explain", "1")
    assert code == 0
    assert "input_usd_per_mtok = 2.5 USD/Mtok  [openai gpt-4o: genai-prices" in out
    assert "api_usd_per_month = 400 USD/month = requests_per_month / 1e6 *" in out


def test_rejected_options_name_their_constraint(call: Call):
    _, out, _ = call(*SMALL, "--model", "llama-3.1-8b", "--quality", "mmlu=80")
    assert "Nothing meets it: no option meets the constraint quality" in out
    assert "      quality: mmlu 69.4 is below 80 (Llama 3.1 model card (5-shot), 2024-07-23)" in out


def test_conflicting_constraints_are_both_named(call: Call):
    _, out, _ = call(*SMALL, "--model", "llama-3.1-8b", "--privacy", "no-third-party", "--budget", "30")
    assert "Nothing meets it: no option meets monthly budget and privacy together" in out


def test_prices_and_rents_of_ones_own_count(call: Call, tmp_path: Path):
    (tmp_path / "p.toml").write_text(
        '[[rent]]\ngpu = "l4"\nprovider = "mine"\nprice = 73\nunit = "USD/month"\n'
        'as_of = "2026-11-20"\nsource = "bill"\n',
        "utf-8",
    )
    flags = (*SMALL, "--model", "llama-3.2-1b", "--gpu", "l4", "--json")
    _, out, _ = call(*flags, "--prices", str(tmp_path / "p.toml"))
    assert json.loads(out)["options"][0]["usd_per_month"] == pytest.approx(73)
    _, out, _ = call(*flags, "--rent", "l4=0.2")
    assert json.loads(out)["options"][0]["usd_per_month"] == pytest.approx(146)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "give a workload file, --scenario or at least --input-tokens"),
        (("--input-tokens", "5"), "a workload needs --output-tokens too"),
        (("--quality", "mmlu=80"), "a workload needs --input-tokens and --output-tokens too"),
        (("--input-tokens", "5", "--output-tokens", "5"), "a workload needs one of --requests-per-s"),
        ((*SMALL, "--train-examples", "1000"), "fine-tuning needs --train-tokens too"),
        ((*SMALL, "--context", "12q"), "'12q' is no number of tokens; write 8192 or 8k"),
        ((*SMALL, "--output-tokens", "nan"), "'output_tokens' is nan; expected a finite number"),
        ((*SMALL[:4], "--requests-per-s", "0"), "requests a second: 0; expected"),
        ((*SMALL[:4], "--mtok-per-month", "-1"), "million tokens a month: -1; expected"),
        (("absent.toml",), "absent.toml cannot be read"),
        (("x.toml", "--scenario", "research-lab"), "not both"),
        ((*SMALL, "--model", "llama-9"), "there is no model 'llama-9' to plan with; nearest: "),
        ((*SMALL, "--gpu", "h1000"), "the planner knows no hardware 'h1000'; nearest: h100"),
        ((*SMALL, "--quality", "mmlu"), "--quality 'mmlu' is no NAME=NUMBER"),
        ((*SMALL, "--rent", "l4=-1"), "the rent is -1 USD/h"),
        ((*SMALL, "--budget", "-5"), "monthly budget: -5"),
        ((*SMALL, "--prices", "absent.toml"), "price file absent.toml cannot be read"),
        ((*SMALL, "--model", "gpt-4o", "--explain", "9"), "there is no option 9; there are 1"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(call: Call, args: tuple[str, ...], message: str):
    code, out, err = call(*args)
    assert code != 0
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_an_empty_workload_file_is_refused_by_its_name(call: Call, tmp_path: Path):
    (tmp_path / "work.toml").write_text("# nothing yet\n")
    code, out, err = call(str(tmp_path / "work.toml"))
    assert (code, out) == (1, "")
    assert "work.toml is empty; expected a workload, at least its table [traffic]" in err


def test_tokens_are_written_with_k_as_for_fit(call: Call):
    code, out, _ = call("--input-tokens", "1.5k", *SMALL[2:], "--context", "32k", "--model", "gpt-4o", "--json")
    assert code == 0
    work = json.loads(out)["workload"]
    assert (work["traffic"]["input_tokens"], work["context_len"]) == (1536, 32768)


def test_costs_below_a_hundred_show_cents(call: Call):
    _, out, _ = call(
        "--input-tokens", "800", "--output-tokens", "200", "--requests-per-month", "1000", "--model", "gpt-4o"
    )
    # 1,000 * (800 * 2.50 + 200 * 10) / 1e6
    assert out.splitlines()[2].startswith("  1  4.00 USD a month, 4 USD/Mtok  GPT-4o")


def test_a_hybrid_shows_cost_prices_and_quality_of_each_part(call: Call):
    _, out, _ = call("--scenario", "research-lab", "--model", "gpt-4.1", "--model", "gpt-4.1-nano")
    lines = out.splitlines()
    assert lines[2].startswith("  1  1,392 USD a month")
    # 1.8 million requests of 1,200 and 300 tokens at 0.10 and 0.40 USD; 0.2 million at 2 and 8 USD
    assert lines[3] == "       GPT-4.1 nano, API of openai: 432 USD a month"
    assert lines[4].startswith("         USD/Mtok: 0.1 of the prompt, ")
    assert lines[5].startswith("         quality: mmlu 80.1 [")
    assert lines[6] == "       GPT-4.1, API of openai: 960 USD a month"
    assert lines[8].startswith("         quality: mmlu 90.2, humaneval 94.5 [")


def test_json_explains_what_meets_the_workload_and_gives_reasons_for_the_rest(call: Call):
    _, out, _ = call(*SMALL, "--model", "llama-3.1-8b", "--privacy", "no-third-party", "--gpu", "l4", "--json")
    made = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert set(made) == {"workload", "options", "rejected", "conflict", "break_even", "warnings"}
    assert all("usd_per_month" in option["explanations"] for option in made["options"])
    assert made["rejected"]
    assert all(option["failures"] and "explanations" not in option for option in made["rejected"])


def test_prices_of_cards_and_models_nobody_knows_are_refused_with_the_nearest(call: Call, tmp_path: Path):
    code, _, err = call(*SMALL, "--rent", "l4os=0.5")
    assert (code, "knows no hardware 'l4os'; nearest: l40s" in err) == (2, True)
    prices = tmp_path / "mine.toml"
    row = 'provider = "me"\nunit = "{}"\nas_of = "2026-11-20"\nsource = "bill"\n'
    prices.write_text('[[rent]]\ngpu = "h10"\nprice = 1\n' + row.format("USD/h"))
    code, _, err = call(*SMALL, "--prices", str(prices))
    assert (code, "price file mine.toml: the planner knows no hardware 'h10'; nearest: " in err) == (1, True)
    prices.write_text('[[api]]\nmodel = "gpt4o"\ninput = 1\noutput = 1\n' + row.format("USD/Mtok"))
    code, _, err = call(*SMALL, "--prices", str(prices))
    assert (code, "there is no model 'gpt4o' to plan with; nearest: gpt-4o" in err) == (1, True)


def test_a_card_may_be_priced_under_any_of_its_names(call: Call):
    options = ("--model", "llama-3.2-1b", "--gpu", "h100", "--privacy", "no-third-party", "--json")
    code, out, _ = call(*SMALL, *options, "--rent", "h100=0.1")
    assert code == 0
    assert json.loads(out)["options"][0]["usd_per_month"] == pytest.approx(73)


def test_no_rank_is_missing_between_those_shown(call: Call):
    told = call("--scenario", "startup-chatbot")[1].split("Break-even")[0]
    seen: list[int] = []
    for first, last in re.findall(r"^ *(\d+)(?: to (\d+))?(?:  |:)", told, re.MULTILINE):
        seen += range(int(first), int(last or first) + 1)
    assert len(seen) > 10
    assert seen == list(range(1, len(seen) + 1))
    assert "Not known to meet the limit on latency; wayra bench URL can tell:" in told
    assert told.index("rented at") < told.index("Not known") < told.index("API of")
