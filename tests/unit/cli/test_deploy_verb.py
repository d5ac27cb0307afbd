"""wayra deploy, in this process: from a plan to files, and refusals."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wayra.cli.main import main

pytest.importorskip("genai_prices")

Call = Callable[..., tuple[int, str, str]]
WORKLOAD = """
name = "small"
[traffic]
input_tokens = 800
output_tokens = 200
requests_per_month = 20000
[choice]
models = ["llama-3.2-1b"]
gpus = ["server-zen4", "l4"]
[have]
server-zen4 = 1
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> tuple[int, str, str]:
        code = main([*args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    (tmp_path / "work.toml").write_text(WORKLOAD)
    return tmp_path / "work.toml"


def test_a_plan_becomes_files_in_a_folder(call: Call, workload: Path, tmp_path: Path):
    code, plan, _ = call("plan", str(workload), "--json")
    assert code == 0
    (tmp_path / "plan.json").write_text(plan)
    out = tmp_path / "out"
    code, text, err = call("deploy", str(tmp_path / "plan.json"), "--docker", "--k8s", "--ray", "--out", str(out))
    assert (code, err) == (0, "")
    assert "DEPLOY.md says how to use them" in text
    expected = {"Dockerfile", "compose.yaml", "kubernetes.yaml", "serve.yaml", "wayra_app.py", "DEPLOY.md"}
    assert {path.name for path in out.iterdir()} == expected
    code, _, err = call("deploy", str(tmp_path / "plan.json"), "--k8s", "--out", str(out))
    assert code == 2
    assert "kubernetes.yaml exists; give another folder, or --force" in err
    assert call("deploy", str(tmp_path / "plan.json"), "--k8s", "--out", str(out), "--force")[0] == 0


def test_a_plan_may_come_through_a_pipe(call: Call, workload: Path, monkeypatch: pytest.MonkeyPatch):
    _, plan, _ = call("plan", str(workload), "--json")
    monkeypatch.setattr("sys.stdin", io.StringIO(plan))
    code, out, _ = call("deploy", "-", "--docker", "--json")
    assert code == 0
    made = json.loads(out)
    assert made["service"]["command"][:2] == ["wayra", "serve"]
    assert set(made["files"]) == {"Dockerfile", "compose.yaml", "DEPLOY.md"}


def test_a_workload_is_planned_first(call: Call, workload: Path):
    code, out, _ = call("deploy", str(workload), "--k8s", "--json")
    assert code == 0
    # What the plan ranks first is the CPU that is there.
    assert json.loads(out)["service"]["hardware"] == "server-zen4"
    code, out, _ = call("deploy", "hipaa-on-premises", "--vllm")
    assert code == 0
    assert "# ==== vllm.sh" in out


def test_it_must_be_said_for_what(call: Call, workload: Path):
    code, _, err = call("deploy", str(workload))
    assert code == 2
    assert "--docker, --k8s, --ray or --vllm" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), (b"\xff\xfe", "is not UTF-8 text"), (b"{", "is no JSON"), (b"{}", "has no options")],
)
def test_what_is_no_plan_is_one_sentence(call: Call, tmp_path: Path, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / "plan.json").write_bytes(content)
    code, out, err = call("deploy", str(tmp_path / "plan.json"), "--k8s")
    assert code in (1, 2)
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
