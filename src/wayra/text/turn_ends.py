"""The control tokens by which known models end a turn, whatever their file says of eos."""

from collections.abc import Mapping

TURN_ENDS = frozenset(
    {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|eot|>",
        "<|eom|>",
        "<|im_end|>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "</s>",
    }
)


def turn_end_ids(specials: Mapping[int, str]) -> set[int]:
    """The ids among `specials` (id to text) that end a turn."""
    return {token_id for token_id, text in specials.items() if text in TURN_ENDS}
