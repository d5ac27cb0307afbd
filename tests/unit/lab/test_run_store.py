"""Runs on disk: what was appended is there after a kill, can be gone on with, found, listed, and told from rubbish."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wayra.base.errors import InvalidParameter, RunError
from wayra.base.settings import Settings, from_environment
from wayra.lab.runs import RunFacts, RunStore, summarise

APPEND_AND_DIE = """
import os, sys
from pathlib import Path
from wayra.lab.runs import RunStore
run = RunStore(Path(sys.argv[1])).create("bench", {"n": 3})
for i in range(2):
    run.append({"key": str(i), "value": i})
print(run.id, flush=True)
os.kill(os.getpid(), 9)
"""


def make_run(store: RunStore, records: int = 2) -> str:
    with store.create("bench", {"n": records}, RunFacts(name="fake", seeds={"traffic": 1})) as run:
        for i in range(records):
            run.append({"key": str(i), "value": i})
        run.finish()
    return run.id


def test_a_finished_run_gives_back_its_records_and_facts(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    run = store.open(make_run(store))
    assert list(run.records()) == [{"key": "0", "value": 0}, {"key": "1", "value": 1}]
    assert (run.status, run.kind, run.config, run.count()) == ("done", "bench", {"n": 2}, 2)
    assert run.header.seeds == {"traffic": 1}
    assert run.header.versions["wayra"]
    assert run.header.machine["cores"]


def test_records_appended_before_a_kill_are_kept_and_the_run_can_go_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", APPEND_AND_DIE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    run_id = done.stdout.strip()
    assert done.returncode == -9
    store = RunStore(tmp_path)
    assert store.open(run_id).status == "interrupted"
    with store.resume(run_id, {"n": 3}) as run:
        assert run.completed == {"0", "1"}
        run.append({"key": "2", "value": 2})
        run.finish()
    assert [r["value"] for r in store.open(run_id).records()] == [0, 1, 2]
    assert store.open(run_id).status == "done"
    assert len(store.open(run_id).header.resumed_utc) == 1


def test_half_a_line_left_by_a_kill_is_dropped_on_reading_and_cut_on_resuming(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with store.create("bench", {}) as run:
        run.append({"key": "0"})
    with (run.path / "requests.jsonl").open("ab") as file:
        file.write(b'{"key": "1", "val')
    assert [r["key"] for r in store.open(run.id).records()] == ["0"]
    with store.resume(run.id) as again:
        again.append({"key": "1"})
    assert [r["key"] for r in store.open(run.id).records()] == ["0", "1"]


def test_a_run_left_by_an_exception_is_failed_with_its_reason_and_by_ctrl_c_interrupted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(ZeroDivisionError), store.create("bench", {}) as run:
        _ = 1 // 0
    assert store.open(run.id).status == "failed"
    assert store.open(run.id).header.error == "ZeroDivisionError: integer division or modulo by zero"
    with pytest.raises(KeyboardInterrupt), store.create("bench", {}) as run:
        raise KeyboardInterrupt
    assert store.open(run.id).status == "interrupted"


def test_a_run_being_written_cannot_be_resumed_or_removed(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with store.create("bench", {}) as run:
        assert store.open(run.id).status == "running"
        with pytest.raises(RunError, match="being written by another process"):
            store.resume(run.id)
        with pytest.raises(RunError, match="being written"):
            store.remove(run.id)
    store.remove(run.id)
    assert store.ids() == []


def test_resuming_refuses_a_done_run_and_other_settings_by_name(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(RunError, match="is done"):
        store.resume(make_run(store))
    with store.create("bench", {"rate": 1, "seed": 2}) as run:
        pass
    with pytest.raises(RunError, match=r"other settings \(rate\)"):
        store.resume(run.id, {"rate": 3, "seed": 2})


def test_a_damaged_line_is_named_and_a_damaged_header_is_listed_as_damaged(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    first, second = make_run(store), make_run(store)
    path = tmp_path / first / "requests.jsonl"
    path.write_bytes(path.read_bytes() + b"rubbish\n")
    with pytest.raises(RunError, match="line 3 is damaged"):
        list(store.open(first).records())
    (tmp_path / second / "run.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        store.open(second)
    assert {e.id: e.status for e in store.entries()} == {first: "done", second: "damaged"}


def test_the_index_is_made_again_when_it_is_gone_rubbish_or_out_of_date(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    ids = sorted(make_run(store, records) for records in (1, 2, 3))
    entries = store.entries()
    assert [e.id for e in entries] == ids
    assert sorted(e.num_records for e in entries) == [1, 2, 3]
    index = tmp_path / "index.sqlite"
    assert index.is_file()
    index.write_bytes(b"not a database, not at all")
    assert store.entries() == entries
    assert store.rebuild_index() == 3
    assert store.entries("eval") == []
    store.remove(ids[0])
    assert [e.id for e in store.entries()] == ids[1:]


def test_a_run_is_found_by_part_of_its_id_by_path_and_as_the_latest(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run_id = make_run(store)
    for name in (run_id, run_id[-6:], run_id[:20], "latest", str(tmp_path / run_id)):
        assert store.open(name).id == run_id
    make_run(store)
    with pytest.raises(RunError, match="could be 2 runs"):
        store.open("2")
    for name in ("", "nothing", "../etc", "/nowhere/at/all"):
        with pytest.raises(RunError, match="there is no run"):
            store.open(name)


def test_bad_records_bad_configs_and_unwritable_folders_are_refused_in_a_sentence(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with store.create("bench", {}) as run, pytest.raises(RunError, match="needs a key"):
        run.append({"value": 1})
    with pytest.raises(InvalidParameter, match="must be JSON"):
        store.create("bench", {"x": object()})
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="WAYRA_RUNS"):
        RunStore(tmp_path / "file").create("bench", {})
    with store.create("nonesuch", {}) as run:
        run.finish()
    with pytest.raises(RunError, match="of kind 'nonesuch'"):
        summarise(store.open(run.id))


def test_notes_and_facts_learned_on_the_way_are_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with store.create("bench", {}) as run:
        run.note("the server caches")
        run.note("the server caches")
        run.set_facts(model="m")
    header = store.open(run.id).header
    assert header.notes == ("the server caches",)
    assert header.facts == {"model": "m"}


def test_runs_are_kept_where_the_environment_says(tmp_path: Path) -> None:
    assert RunStore(Settings(cache_dir=tmp_path)).root == tmp_path / "runs"
    assert RunStore(from_environment({**os.environ, "WAYRA_RUNS": "/somewhere"})).root == Path("/somewhere")
