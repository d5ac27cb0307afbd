"""Workloads: what a file may say, and what is refused in one sentence."""

import re
from pathlib import Path

import pytest

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.workload import SCENARIOS, Workload, parse_document, read_workload, scenario, workload_of

TRAFFIC = "[traffic]\ninput_tokens = 800\noutput_tokens = 200\nrequests_per_month = 1_000_000\n"


def workload(text: str) -> Workload:
    return workload_of(parse_document(text, "work.toml"), "work.toml")


def test_a_million_requests_a_month_are_0_38_a_second_and_four_times_that_at_the_peak():
    # 1e6 / (730 * 3,600) = 0.3805; * 4 = 1.522
    work = workload(TRAFFIC)
    assert work.peak_requests_per_s == pytest.approx(1.522, abs=1e-3)
    assert work.traffic.mtok_per_month == pytest.approx(1000)
    assert work.longest == 1000


def test_the_three_rates_mean_the_same_traffic():
    by_second = workload(TRAFFIC.replace("requests_per_month = 1_000_000", f"requests_per_s = {1e6 / (730 * 3600)}"))
    by_tokens = workload(TRAFFIC.replace("requests_per_month = 1_000_000", "mtok_per_month = 1000"))
    assert by_second.traffic.requests_per_month == pytest.approx(1e6)
    assert by_tokens.traffic.requests_per_month == pytest.approx(1e6)


def test_json_says_the_same_as_toml(tmp_path: Path):
    (tmp_path / "work.json").write_text(
        '{"traffic": {"input_tokens": 800, "output_tokens": 200, "requests_per_month": 1000000}}', "utf-8"
    )
    assert read_workload(tmp_path / "work.json") == workload(TRAFFIC)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_shipped_scenario_can_be_read(name: str):
    assert scenario(name).traffic.mtok_per_month > 100


def test_the_second_scenario_is_on_premises_with_training():
    work = scenario("hipaa-on-premises")
    assert (work.privacy, work.open_weights) == ("on-premises", True)
    assert work.fine_tuning is not None
    assert work.fine_tuning.runs_per_year == 4
    assert work.ownership.staff_usd_per_year == 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"\[traffic\] lacks 'input_tokens'"),
        ("[trafic]\n" + TRAFFIC, "unknown key 'trafic'; did you mean 'traffic'"),
        (TRAFFIC + "requests_per_s = 1\n", "give one of requests a second"),
        (TRAFFIC.replace("requests_per_month = 1_000_000\n", ""), "give one of requests a second"),
        (TRAFFIC.replace("800", "0").replace("200", "0"), "no tokens at all"),
        (TRAFFIC.replace("800", "-5"), "input tokens a request: -5"),
        (TRAFFIC.replace("1_000_000", "0"), "requests a month: 0"),
        (TRAFFIC.replace("1_000_000", "nan"), "is nan; expected a finite number"),
        (TRAFFIC.replace("1_000_000", "inf"), "is inf; expected a finite number"),
        (TRAFFIC.replace("800", '"many"'), "'input_tokens' is 'many'; expected a number"),
        (TRAFFIC + "cached_share = 2\n", "share of cached input: 2"),
        (TRAFFIC + "peak_factor = 0.5\n", "peak factor: 0.5"),
        (TRAFFIC + "[limits]\nlatency_p95_s = 0\n", "P95 latency: 0"),
        (TRAFFIC + "[limits]\ncontext = 500\n", "a context of 500 tokens is shorter than an average request of 1,000"),
        (TRAFFIC + "[limits]\nlatency = 5\n", "unknown key 'latency'"),
        (TRAFFIC + '[rules]\nprivacy = "secret"\n', "privacy 'secret' is unknown; expected any, no-third-party"),
        (TRAFFIC + "[rules]\nopen_weights = 1\n", "expected true or false"),
        (TRAFFIC + "[quality]\nmmlu = 120\n", "the floor of mmlu: 120"),
        (TRAFFIC + "[budget]\nusd_per_month = -1\n", "monthly budget: -1"),
        (TRAFFIC + '[[route]]\nname = "a"\nshare = 0.5\n', "shares add up to 0.5"),
        (TRAFFIC + "[route]\nshare = 1\n", "routes must be written as"),
        (TRAFFIC + "[fine_tuning]\nexamples = 5\n", "lacks 'tokens_per_example'"),
        (TRAFFIC + "[fine_tuning]\nexamples = 0\ntokens_per_example = 5\n", "examples: 0"),
        (TRAFFIC + "[owning]\nyears = 0\n", "years of use: 0"),
        (TRAFFIC + "[have]\nrtx4090 = 0\n", "cards rtx4090 that are there: 0"),
        (TRAFFIC + "[have]\nrtx4090 = nan\n", "expected a finite number"),
        (TRAFFIC + "[choice]\nmodels = 3\n", "expected a list of names"),
        ("traffic = 3\n", r"expected a table \[traffic\]"),
        ("= 3\n", "cannot be read"),
    ],
)
def test_a_wrong_workload_is_refused_in_one_sentence(text: str, message: str):
    with pytest.raises((FileFormatError, InvalidParameter), match=message) as caught:
        workload(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="not UTF-8"):
        read_workload(tmp_path / "binary.toml")
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_workload(tmp_path / "absent.toml")
    with pytest.raises(InvalidParameter, match="there are: startup-chatbot"):
        scenario("unknown")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[traffic]\ninput_tokens = 1\noutput_tokens = 1\nrequests_per_s = 1\npeak_factor = 0",
            "peak factor: 0; expected 1",
        ),
        (TRAFFIC + "[limits]\ncontext = 0", "context: 0; expected 1 to"),
        (TRAFFIC + "[limits]\ncontext = 100.5", "'context' is 100.5; expected a whole number"),
        (TRAFFIC + "[have]\nl40s = 1.5", "'l40s' is 1.5; expected a whole number"),
        (
            TRAFFIC + "[budget]\nusd_per_month = 1e19",
            "'usd_per_month' is 1e+19; expected a finite number, at most 1e+18",
        ),
        (
            TRAFFIC + "[fine_tuning]\nexamples = 0.5\ntokens_per_example = 9",
            "'examples' is 0.5; expected a whole number",
        ),
        (TRAFFIC + "[[route]]\nshare = 0.1\n" * 10, "10 routes; expected at most 8"),
        (f'name = "{"x" * 300}"\n' + TRAFFIC, "the name has 300 characters; expected at most 200"),
    ],
)
def test_numbers_that_would_be_cut_or_passed_over_are_refused(text: str, said: str) -> None:
    with pytest.raises(FileFormatError, match=re.escape(said)):
        workload_of(parse_document(text, "work.toml"), "work.toml")
