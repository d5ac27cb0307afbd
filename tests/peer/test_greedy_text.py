"""The same greedy text as llama.cpp from the same file, through the whole of wayra: engine, batches, sampling.

Both engines quantise activations, each in its own way, so their logits differ in the third digit. Where the two
likeliest tokens are closer than that, either may win; everywhere else the tokens must agree. What follows a difference
is another text and is not compared.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from measuring.pipe import Worker

from wayra import LLM, SamplingParams

pytestmark = pytest.mark.peer

NUM_TOKENS = 48
LARGEST_GAP = 1e-2

QUESTIONS = (
    "Why is the sky blue?",
    "Name three rivers in South America.",
    "Write a haiku about the wind.",
    "Explain recursion to a ten-year-old.",
    "What is 17 + 25?",
    "Translate 'good morning' into French, Spanish and German.",
    "Give me a recipe for pancakes.",
    "How do vaccines work?",
    "Write a Python function that reverses a string.",
    "What should I pack for a week in the mountains?",
)
BEGINNINGS = (
    "Once upon a time, in a village by the sea,",
    "The capital of Peru is",
    "def fibonacci(n):\n    ",
    "In 1969, the first humans",
    "Water boils at a temperature of",
    "1, 1, 2, 3, 5, 8,",
    "Dear Sir or Madam,\n\nI am writing to",
    "The mitochondrion is",
    '{"name": "Ada", "born":',
    "# Shopping list\n- eggs\n-",
)


@dataclass(frozen=True)
class Comparison:
    """at: index of the first different token, None when all agree. gap: the smaller of the two engines' there."""

    prompt: str
    at: int | None
    gap: float = 0.0


@pytest.fixture(scope="module")
def comparisons(peer: Worker, smollm2_path: Path) -> list[Comparison]:
    with LLM(smollm2_path, threads=2, context_len=512) as llm:
        prompts = [llm.render([{"role": "user", "content": question}]) for question in QUESTIONS] + list(BEGINNINGS)
        ids = [llm.prompt_ids(prompt) for prompt in prompts]
        params = SamplingParams(temperature=0.0, max_tokens=NUM_TOKENS, logprobs=2, ignore_eos=True)
        ours = llm.generate(ids, params)
    found: list[Comparison] = []
    for prompt, prompt_ids, completion in zip((*QUESTIONS, *BEGINNINGS), ids, ours, strict=True):
        theirs = peer.ask("greedy", prompt_ids=list(prompt_ids), count=NUM_TOKENS)
        assert len(completion.token_ids) == NUM_TOKENS
        assert completion.logprobs is not None
        pairs = zip(completion.token_ids, theirs["token_ids"], strict=True)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if at is None:
            found.append(Comparison(prompt, None))
            continue
        (_, first), (_, second) = completion.logprobs[at].top
        found.append(Comparison(prompt, at, min(first - second, theirs["gaps"][at])))
    return found


def test_prompts_have_the_same_ids_as_in_llama_cpp(peer: Worker, smollm2_path: Path) -> None:
    with LLM(smollm2_path, threads=2, context_len=512) as llm:
        for question in QUESTIONS:
            prompt = llm.render([{"role": "user", "content": question}])
            theirs = peer.ask("tokenize", text=prompt, add_special=False, parse_special=True)
            assert list(llm.prompt_ids(prompt)) == theirs
        for beginning in BEGINNINGS:
            theirs = peer.ask("tokenize", text=beginning, add_special=True, parse_special=True)
            assert list(llm.prompt_ids(beginning)) == theirs


def test_greedy_text_equals_llama_cpp_or_parts_where_two_tokens_are_as_likely(comparisons: list[Comparison]) -> None:
    same = sum(comparison.at is None for comparison in comparisons)
    parted = [comparison for comparison in comparisons if comparison.at is not None]
    print(f"\n{same} of {len(comparisons)} continuations of {NUM_TOKENS} tokens are identical")
    for comparison in parted:
        print(f"  {comparison.prompt!r} parts at token {comparison.at}, gap {comparison.gap:.4f}")
    assert [comparison for comparison in parted if comparison.gap >= LARGEST_GAP] == []
