"""The comparison of engines: names of workloads, what the peers' own tools print, ratios to the best, floors."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import peers
from measuring.contenders import Workload, batched_bench_rate, bench_rate, workload_named
from measuring.floors import verdict
from measuring.pipe import WorkerError


@pytest.mark.parametrize("key", ["pp512", "d0", "d4096", "b32"])
def test_a_workload_is_named_and_named_back(key: str) -> None:
    assert workload_named(key).key == key


@pytest.mark.parametrize("key", ["", "pp", "pp0", "b0", "x5", "5", "d-1"])
def test_what_is_no_workload_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is no workload"):
        workload_named(key)


def test_rates_are_read_from_the_peers_own_tools() -> None:
    assert bench_rate('[{"n_prompt": 64, "avg_ts": 1.5}]') == 1.5
    assert batched_bench_rate('main: x\n{"pl": 4, "speed_pp": 151.5, "speed_tg": 16.5}\n\n') == 16.5
    head = (
        "|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |\n|---|\n"
    )
    row = "|    32 |     64 |    4 |    384 |    1.472 |    86.95 |    5.763 |    44.42 |    7.236 |    53.07 |\n"
    assert batched_bench_rate(head + row + "\ntimings\n") == 44.42
    for told in ("", "[]", "[{}]", "{}"):
        with pytest.raises(WorkerError, match="llama-bench said"):
            bench_rate(told)
    with pytest.raises(WorkerError, match="batched-bench said"):
        batched_bench_rate("nothing")


class FakeEngine:
    """Gives its rates one after the other; None fails."""

    version, pids, first_token_s = "", (1,), None

    def __init__(self, name: str, rates: list[float | None]) -> None:
        self.name, self._rates = name, list(rates)

    def rate(self, workload: Workload) -> float:
        value = self._rates.pop(0)
        if value is None:
            raise WorkerError("no such call")
        return value

    def resident_mb(self) -> float | None:
        return None

    def close(self) -> None:
        return None


def test_the_ratio_is_to_the_fastest_peer_and_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SETTLE_S", 0)
    ours, slow = FakeEngine("wayra", [1, 20, 40]), FakeEngine("slow", [1, 5, 5])
    fast, broken = FakeEngine("fast", [1, 10, 40]), FakeEngine("broken", [1, 99, None])
    found = peers.measure(workload_named("d0"), [ours, slow, fast, broken], 2, 0)
    assert found.rates == {"wayra": [20, 40], "slow": [5, 5], "fast": [10, 40]}
    assert found.failures == {"broken": "no such call"}
    cells, told = peers.row_of(found, ["wayra", "slow", "fast", "broken"], "smollm2")
    assert (told["best_peer"], told["floor"]) == ("fast", "met (1.25)")
    assert cells[-2:] == ["1.50 (1.00–2.00) fast", "met (1.25)"]
    assert cells[4] == "–"


def test_a_floor_is_met_not_met_or_not_set() -> None:
    assert verdict("smollm2", "pp512", 1.14) == "not met (1.15)"
    assert verdict("8b", "pp512", 2.0) == "met (2)"
    assert verdict("8b", "b4", 2.0) == verdict("", "pp512", 9.0) == ""


def test_models_and_peers_are_split_and_refused() -> None:
    assert peers.split_model("1b=/a=b.gguf") == ("1b", "/a=b.gguf")
    assert peers.split_model("smollm2") == ("", "smollm2")
    assert peers.split_peer("llamacpp=/p") == ("llamacpp", "/p", "")
    assert peers.split_peer("openvino=/p,/m") == ("openvino", "/p", "/m")
    for text in ("2b=x", "1b="):
        with pytest.raises(ValueError, match="expected NAME"):
            peers.split_model(text)
    for text in ("openvino=/p", "llamacpp", "other=/p,/m"):
        with pytest.raises(ValueError, match="--peer"):
            peers.split_peer(text)
