"""A real run of lm-eval's local-completions against the server gives the scores of the process, to 1e-6."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer

from wayra.llm import LLM, SamplingParams

pytestmark = pytest.mark.lm_eval

QUESTIONS = [
    ("The capital of France is", ["Paris", "London", "a kind of fish that lives in the sea"], 0),
    ("Water boils at sea level at 100 degrees", ["Fahrenheit", "Celsius"], 1),
    ("Question: What is 2 + 2?\nAnswer:", ["four", "4", "5", "twenty-two"], 1),
    ("The opposite of hot is", ["cold", "warm", "naïve – 冷たい 🙂"], 0),
    ("Once upon a time there was a king who had three", ["daughters", "sons, and they lived in a castle", "the"], 1),
]
TASK = """
task: of_the_test
dataset_path: json
dataset_kwargs:
  data_files: {{"test": {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
"""


def harness_samples(server: LiveServer, folder: Path, batch_size: int) -> list[dict[str, Any]]:
    """What lm-eval wrote down of each question."""
    data = folder / "questions.jsonl"
    rows = [{"question": q, "choices": c, "answer": a} for q, c, a in QUESTIONS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.yaml").write_text(TASK.format(data=json.dumps(str(data))))
    model = (
        f"base_url={server.url}/v1/completions,tokenizer_backend=remote,model={served_name(server)},num_concurrent=2"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", model,
            "--batch_size", str(batch_size), "--include_path", str(folder), "--tasks", "of_the_test",
            "--output_path", str(folder / "out"), "--log_samples",
        ],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = (folder / "out").rglob("samples_*.jsonl")
    return [json.loads(line) for line in found.read_text().splitlines()]


def served_name(server: LiveServer) -> str:
    name: str = server.get("/v1/models").json["data"][-1]["id"]
    return name


def score(llm: LLM, context: str, continuation: str) -> tuple[float, bool]:
    """In the process: the sum of the continuation's log-probabilities, and whether each token was the likeliest."""
    encode = llm.tokenizer.encode
    whole = encode(context + continuation, add_bos=False, parse_special=True)
    start = len(encode(context, add_bos=False, parse_special=True))
    params = SamplingParams(temperature=0, max_tokens=0, prompt_logprobs=True, prompt_top_logprobs=1)
    (found,) = llm.generate([whole], params)
    assert found.prompt_logprobs is not None
    assert found.prompt_top is not None
    places = range(start - 1, len(whole) - 1)
    is_greedy = all(found.prompt_top[i][0][0] == whole[i + 1] for i in places)
    return math.fsum(found.prompt_logprobs[i] for i in places), is_greedy


@pytest.mark.parametrize("batch_size", [1, 3])
def test_lm_evals_scores_are_those_of_the_process(
    real_server: LiveServer, smollm2_path: Path, tmp_path: Path, batch_size: int
) -> None:
    samples = harness_samples(real_server, tmp_path, batch_size)
    assert len(samples) == len(QUESTIONS)
    with LLM(smollm2_path, context_len=1024) as llm:
        for sample in samples:
            question, choices, _ = QUESTIONS[sample["doc_id"]]
            answers = sample["filtered_resps"]
            assert len(answers) == len(choices)
            for choice, (given, given_greedy) in zip(choices, answers, strict=True):
                expected, is_greedy = score(llm, question, f" {choice}")
                assert float(given) == pytest.approx(expected, abs=1e-6)
                assert str(given_greedy) == str(is_greedy)
