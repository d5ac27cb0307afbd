"""wayra eval, in this process: a judge is named as such, and no program is run where there is no sandbox."""

import json
from collections.abc import Callable

import pytest
from fake_openai import Script, fake_server

from wayra.base.errors import BackendError

Call = Callable[..., tuple[int, str, str]]


def test_what_a_language_model_judged_is_called_its_opinion_wherever_it_is_shown(call: Call) -> None:
    with fake_server(Script(events=((0.0, "The better text is "), (0.0, "A")))) as server:
        code, out, err = call(
            "eval", server.url, "--suite", "task:writing,task:maths", "--limit", "2", "--judge", server.url
        )
        # Two texts and two sums, and each text beside another one in both orders.
        assert len(server.bodies) == 4 + 4
    assert code == 0, err
    assert f"task:writing: score is the opinion of a language model, {server.url}" in out
    assert "task:maths: score" not in out
    code, out, err = call("runs", "show", "latest", "--json")
    assert code == 0, err
    scores = {one["group"]: one for one in json.loads(out)["figures"] if one["name"] == "score"}
    assert "opinion" in scores["task:writing"]["why"]
    assert scores["task:maths"]["why"] is None


def test_without_a_sandbox_nothing_is_asked_whose_answers_would_be_run(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise BackendError("this system makes no sandbox: not permitted; allow unprivileged user namespaces")

    monkeypatch.setattr("wayra.lab.sandbox.require_sandbox", refuse)
    with fake_server(Script()) as server:
        given = ("eval", server.url, "--suite", "task:maths,task:functions", "--limit", "2")
        code, _, err = call(*given)
        assert code == 1
        assert "allow unprivileged user namespaces" in err
        assert "go on with `wayra eval --resume" in err
        assert server.bodies == []
        code, _, err = call("eval", server.url, "--suite", "task:maths", "--limit", "2")
        assert code == 0, err
