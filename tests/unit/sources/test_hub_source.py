"""Models of the hub: the real library, over its own cache without network, and over a small hub on this machine.

The library reads its environment when it is imported, so each case runs the command in a process of its own.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "some-org/Some-Model"


@dataclass
class Hub:
    """What the fake hub holds and what it was asked.

    lies: hashes it declares instead of the true ones. cut_after_bytes: break downloads off after so many bytes.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)
    commit: str = COMMIT
    gated: bool = False
    cut_after_bytes: int | None = None
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    spans: list[str | None] = field(default_factory=list)
    url: str = ""

    def fetched(self) -> set[str]:
        marker = f"/resolve/{self.commit}/"
        return {line.partition(marker)[2] for line in self.asked if line.startswith("GET") and marker in line}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            return None

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            hub.tokens.add(self.headers.get("Authorization"))
            path = self.path.partition("?")[0]
            name = path.partition(f"/{REPO}/resolve/{hub.commit}/")[2]
            if hub.gated:
                self.send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, with_body)
            elif path == f"/api/models/{REPO}":
                self.send(200, json.dumps(listing(hub)).encode(), {"Content-Type": "application/json"}, with_body)
            elif name in hub.files:
                digest = hub.lies.get(name, sha256(hub.files[name]))
                headers = {"ETag": f'"{digest}"', "X-Repo-Commit": hub.commit, "X-Linked-ETag": f'"{digest}"'}
                headers["X-Linked-Size"] = str(len(hub.files[name]))
                self.send(200, hub.files[name], headers, with_body)
            else:
                self.send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_body)

        def send(self, status: int, body: bytes, headers: Mapping[str, str], with_body: bool) -> None:
            start = 0
            if with_body and status == 200 and (span := self.headers.get("Range")):
                start = int(span.removeprefix("bytes=").partition("-")[0])
                status = 206
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if with_body and hub.cut_after_bytes is not None and "resolve" in self.path:
                self.wfile.write(body[start : start + hub.cut_after_bytes])
                self.close_connection = True
            elif with_body:
                self.wfile.write(body[start:])
            hub.spans.append(self.headers.get("Range"))

    return Handler


def listing(hub: Hub) -> dict[str, object]:
    siblings = [
        {
            "rfilename": name,
            "size": len(content),
            "blobId": "b" * 40,
            "lfs": {"sha256": sha256(content), "size": len(content), "pointerSize": 100},
        }
        for name, content in hub.files.items()
    ]
    return {
        "_id": "1",
        "id": REPO,
        "sha": hub.commit,
        "siblings": siblings,
        "private": False,
        "tags": [],
        "downloads": 0,
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    fake = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(fake))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.out)
        return answer


def wayra(tmp_path: Path, *args: str, **environ: str) -> Answer:
    """Run the command with a cache and a hub cache of the test's own."""
    command = [sys.executable, "-c", "from wayra.cli.main import main; import sys; sys.exit(main())", *args]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WAYRA_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **environ,
    }  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def in_hub_cache(tmp_path: Path, files: Mapping[str, bytes]) -> Path:
    """Lay files out as the hub's library does: blobs by hash, links in a snapshot, a ref to it."""
    repo = tmp_path / "hf/hub" / f"models--{REPO.replace('/', '--')}"
    snapshot = repo / "snapshots" / COMMIT
    (repo / "blobs").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    for name, content in files.items():
        blob = repo / "blobs" / sha256(content)
        blob.write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
    return snapshot


GGUFS = {"m-Q4_K_M.gguf": b"GGUF four", "m-Q8_0.gguf": b"GGUF eight", "README.md": b"hello"}


def test_offline_mode_finds_what_the_hub_cache_holds(tmp_path: Path) -> None:
    snapshot = in_hub_cache(tmp_path, GGUFS)
    for name, file in (
        (REPO, "m-Q4_K_M.gguf"),
        (f"{REPO}:q8_0", "m-Q8_0.gguf"),
        (f"hf://{REPO}/m-Q8_0.gguf", "m-Q8_0.gguf"),
    ):
        answer = wayra(tmp_path, "pull", name, "--json", HF_HUB_OFFLINE="1")
        assert (answer.code, answer.err) == (0, "")
        assert answer.result["path"] == str(snapshot / file)
        assert answer.result["fetched"] is False
    listed = wayra(tmp_path, "ls", "--json").result["models"]
    assert isinstance(listed, list)
    assert {row["model"] for row in listed} == {f"{REPO}:Q4_K_M", f"{REPO}:Q8_0", f"hf://{REPO}/m-Q8_0.gguf"}


def test_offline_mode_says_what_is_missing(tmp_path: Path, hub: Hub) -> None:
    hub.files.update(GGUFS)
    for name in (REPO, f"{REPO}:Q6_K", "llama3.2:1b"):
        answer = wayra(tmp_path, "pull", name, HF_HUB_OFFLINE="1", HF_ENDPOINT=hub.url)
        assert answer.code == 1
        assert "HF_HUB_OFFLINE" in answer.err
        assert answer.err.count("\n") == 1
    assert hub.asked == []


def test_an_incomplete_sharded_model_in_the_hub_cache_is_not_taken_for_one(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    files = {"config.json": b"{}", "model.safetensors.index.json": index, "model-1.safetensors": b"one"}
    snapshot = in_hub_cache(tmp_path, files)
    assert wayra(tmp_path, "pull", REPO, HF_HUB_OFFLINE="1").code == 1
    (snapshot / "model-2.safetensors").write_bytes(b"two")
    answer = wayra(tmp_path, "pull", REPO, "--json", HF_HUB_OFFLINE="1")
    assert answer.result["path"] == str(snapshot)
    assert answer.result["format"] == "safetensors"


def test_only_the_quantisation_asked_for_is_fetched(tmp_path: Path, hub: Hub) -> None:
    hub.files.update(GGUFS)
    answer = wayra(tmp_path, "pull", f"{REPO}:Q8_0", "--json", HF_ENDPOINT=hub.url, HF_TOKEN="hf_secret")
    assert (answer.code, answer.err) == (0, "")
    assert answer.result["fetched"] is True
    assert Path(str(answer.result["path"])).read_bytes() == GGUFS["m-Q8_0.gguf"]
    assert hub.fetched() == {"m-Q8_0.gguf"}
    assert "Bearer hf_secret" in hub.tokens
    for endpoint in (hub.url, "http://127.0.0.1:9"):
        assert wayra(tmp_path, "pull", f"{REPO}:Q8_0", "--json", HF_ENDPOINT=endpoint).result["fetched"] is False


def test_pull_fetches_a_newer_revision_and_only_what_changed(tmp_path: Path, hub: Hub) -> None:
    hub.files.update({"config.json": b"{}", "model.safetensors": b"weights"})
    assert wayra(tmp_path, "pull", REPO, HF_ENDPOINT=hub.url).code == 0
    hub.commit, hub.files["config.json"] = "f" * 40, b'{"newer": 1}'
    hub.asked.clear()
    answer = wayra(tmp_path, "pull", REPO, "--json", HF_ENDPOINT=hub.url)
    assert answer.result["fetched"] is True
    folder = Path(str(answer.result["path"]))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    assert hub.fetched() == {"config.json"}
    assert len(wayra(tmp_path, "ls", "--json").result["models"]) == 1


def test_a_safetensors_repository_is_fetched_without_pickles_and_code(tmp_path: Path, hub: Hub) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    wanted = {
        "config.json": b"{}", "tokenizer.json": b"{ }", "model.safetensors.index.json": index,
        "model-1.safetensors": b"one", "model-2.safetensors": b"two",
    }  # fmt: skip
    hub.files.update(wanted)
    hub.files.update({"modeling.py": b"evil", "pytorch_model.bin": b"pickle", "consolidated.safetensors": b"again"})
    answer = wayra(tmp_path, "pull", REPO, "--json", HF_ENDPOINT=hub.url)
    assert (answer.code, answer.err) == (0, "")
    assert hub.fetched() == set(wanted)
    folder = Path(str(answer.result["path"]))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == wanted


def test_a_file_that_differs_from_the_hash_the_hub_declares_is_deleted(tmp_path: Path, hub: Hub) -> None:
    real, damaged = b"GGUF true", b"GGUF fals"

    class Damaging(dict[str, bytes]):
        """The listing speaks of the true file, the download brings another."""

        def __getitem__(self, name: str) -> bytes:
            return damaged

    hub.files = Damaging({"m-Q4_0.gguf": real})
    hub.lies["m-Q4_0.gguf"] = sha256(real)
    answer = wayra(tmp_path, "pull", REPO, HF_ENDPOINT=hub.url)
    assert answer.code == 1
    assert f"the hub says {sha256(real)}" in answer.err
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.read_bytes() == damaged]
    assert wayra(tmp_path, "ls", "--json").result == {"models": []}


def test_a_download_that_broke_off_is_resumed(tmp_path: Path, hub: Hub) -> None:
    content = b"GGUF" + bytes(range(256)) * 200_000
    hub.files["m-Q4_0.gguf"] = content
    hub.cut_after_bytes = 21_000_000
    broken = wayra(tmp_path, "pull", REPO, HF_ENDPOINT=hub.url)
    if broken.code:
        assert broken.err.count("\n") == 1
        assert wayra(tmp_path, "ls", "--json").result == {"models": []}
    hub.cut_after_bytes = None
    answer = wayra(tmp_path, "pull", REPO, "--json", HF_ENDPOINT=hub.url)
    assert Path(str(answer.result["path"])).read_bytes() == content
    resumed_at = [int(span.removeprefix("bytes=").rstrip("-")) for span in hub.spans if span and span.endswith("-")]
    assert max(resumed_at) > 10_000_000


def test_rm_frees_the_blob_in_the_hub_cache(tmp_path: Path) -> None:
    snapshot = in_hub_cache(tmp_path, GGUFS)
    blob = (snapshot / "m-Q8_0.gguf").resolve()
    assert wayra(tmp_path, "pull", f"{REPO}:Q8_0", HF_HUB_OFFLINE="1").code == 0
    answer = wayra(tmp_path, "rm", f"{REPO}:Q8_0", "--yes", "--json")
    assert answer.result["freed_bytes"] == len(GGUFS["m-Q8_0.gguf"])
    assert not blob.exists()
    assert (snapshot / "m-Q4_K_M.gguf").read_bytes() == GGUFS["m-Q4_K_M.gguf"]


def test_verify_finds_a_flipped_bit_and_pull_mends_it(tmp_path: Path, hub: Hub) -> None:
    hub.files.update(GGUFS)
    path = Path(str(wayra(tmp_path, "pull", REPO, "--json", HF_ENDPOINT=hub.url).result["path"]))
    path.write_bytes(b"GGUF fouR")
    answer = wayra(tmp_path, "verify", REPO)
    assert answer.code == 1
    assert f"expected {sha256(GGUFS['m-Q4_K_M.gguf'])}" in answer.err
    assert wayra(tmp_path, "pull", REPO, "--json", HF_ENDPOINT=hub.url).result["fetched"] is True
    assert path.read_bytes() == GGUFS["m-Q4_K_M.gguf"]


def test_what_the_hub_refuses_is_one_sentence(tmp_path: Path, hub: Hub) -> None:
    absent = wayra(tmp_path, "pull", "no-such/repo", HF_ENDPOINT=hub.url)
    assert (absent.code, absent.err.count("\n")) == (1, 1)
    assert "no repository 'no-such/repo'" in absent.err
    hub.gated = True
    gated = wayra(tmp_path, "pull", REPO, HF_ENDPOINT=hub.url)
    assert (gated.code, gated.err.count("\n")) == (1, 1)
    assert "is gated; accept its licence" in gated.err


def test_a_hub_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    # Nobody listens on the discard port of this machine.
    answer = wayra(tmp_path, "pull", REPO, "--json", HF_ENDPOINT="http://127.0.0.1:9")
    assert answer.code == 1
    assert json.loads(answer.err)["error"]["type"] == "SourceError"
    assert answer.out == ""


def test_a_hub_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, hub: Hub) -> None:
    hub.files.update(GGUFS)
    (tmp_path / "file").write_text("in the way")
    answer = wayra(tmp_path, "pull", REPO, "--json", HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "file"))
    assert answer.code == 1
    assert json.loads(answer.err)["error"]["type"] == "CacheError"
