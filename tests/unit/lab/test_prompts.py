"""Prompts of a bench: repeatable, unlike each other, alike only where a shared prefix was asked for."""

from itertools import combinations

import pytest

from wayra.lab.traffic import PromptMaker, PromptShape, parse_lengths


def shape(prompt: str = "64", shared: int = 0, groups: int = 1) -> PromptShape:
    return PromptShape(parse_lengths(prompt), parse_lengths("8..16"), shared, groups)


@pytest.mark.parametrize("id_range", [None, (1000, 49152)], ids=["words", "ids"])
def test_a_prompt_follows_from_seed_nonce_stage_and_number_alone(id_range: tuple[int, int] | None) -> None:
    first, second = (PromptMaker(shape(), 7, "n", id_range) for _ in range(2))
    second.make(0, 99)
    assert first.make(1, 5) == second.make(1, 5)
    others = [
        first.make(1, 6), first.make(2, 5), PromptMaker(shape(), 8, "n", id_range).make(1, 5),
        PromptMaker(shape(), 7, "m", id_range).make(1, 5),
    ]  # fmt: skip
    assert len({ask.prompt for ask, _ in [first.make(1, 5), *others]}) == 5


def test_ids_have_the_wanted_length_and_stay_in_their_range() -> None:
    maker = PromptMaker(shape("50..400"), 0, "", (1000, 1010))
    for index in range(50):
        ask, wanted = maker.make(0, index)
        assert isinstance(ask.prompt, tuple)
        assert 50 <= len(ask.prompt) == wanted <= 400
        assert set(ask.prompt) <= set(range(1000, 1010))
        assert 8 <= ask.max_tokens <= 16


@pytest.mark.parametrize("id_range", [None, (0, 50_000)], ids=["words", "ids"])
def test_prompts_of_a_group_begin_alike_and_go_on_unlike(id_range: tuple[int, int] | None) -> None:
    maker = PromptMaker(shape("21..64", shared=37, groups=2), 3, "x", id_range)
    found = [maker.make(0, index)[0].prompt for index in range(12)]
    parts = [prompt.split() if isinstance(prompt, str) else list(prompt) for prompt in found]
    for (one, first), (other, second) in combinations(enumerate(parts), 2):
        shared = min(37, len(first) - 1, len(second) - 1)
        assert (first[:shared] == second[:shared]) == (one % 2 == other % 2)
        assert first != second


@pytest.mark.parametrize("id_range", [None, (0, 50_000)], ids=["words", "ids"])
def test_blocks_of_the_same_number_are_alike_and_the_rest_is_a_requests_own(id_range: tuple[int, int] | None) -> None:
    maker = PromptMaker(shape(), 3, "x", id_range)

    def made(index: int, blocks: list[int], length: int) -> list[str] | list[int]:
        prompt = maker.make_of_blocks(index, blocks, 16, length)
        return prompt.split() if isinstance(prompt, str) else list(prompt)

    first, second = made(0, [7, 8], 32), made(1, [7, 9], 40)
    assert (len(first), len(second)) == (32, 40)
    assert first[:16] == second[:16]
    assert first[16:] != second[16:32]
    assert second[32:] != made(2, [7, 9], 40)[32:]
    # The last block of a request is seldom full.
    assert made(3, [7, 8, 1], 20) == first[:20]
    other = PromptMaker(shape(), 3, "y", id_range).make_of_blocks(0, [7, 8], 16, 32)
    assert other != maker.make_of_blocks(0, [7, 8], 16, 32)
