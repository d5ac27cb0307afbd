"""Makes a tokenizer from Meta's `tokenizer.model` of Llama 3 and Llama 4: lines of a base64 piece and its rank.

The file names neither its special tokens nor its pattern; both follow from the number of ranks.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.text.files import read_bounded
from wayra.text.merges import merges_from_ranks
from wayra.text.pieces import spell_bytes
from wayra.text.pretokenizers import LLAMA3_PATTERN, O200K_PATTERN, split_on
from wayra.text.recipe import AddedToken, Recipe
from wayra.text.tokenizer import Tokenizer
from wayra.text.turn_ends import turn_end_ids

LLAMA3_RANKS = 128_000
LLAMA4_RANKS = 200_000
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class TiktokenLayout:
    """What the file leaves out. specials: in the order of their ids, which follow the ranks."""

    pattern: str
    specials: Sequence[str]
    bos: str = "<|begin_of_text|>"


def _numbered(prefix: str, numbers: range) -> list[str]:
    return [f"<|{prefix}reserved_special_token_{number}|>" for number in numbers]


def llama3_layout() -> TiktokenLayout:
    """Llama 3, 3.1, 3.2 and 3.3: 256 special tokens."""
    named = ["<|begin_of_text|>", "<|end_of_text|>", *_numbered("", range(2)), "<|finetune_right_pad_id|>"]
    named += ["<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"]
    named += ["<|python_tag|>", "<|image|>"]
    return TiktokenLayout(LLAMA3_PATTERN, named + _numbered("", range(2, 2 + 256 - len(named))))


def llama4_layout() -> TiktokenLayout:
    """Llama 4: 2,048 special tokens."""
    named = ["<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
    named += ["<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>"]
    named += _numbered("text_post_train_", range(6))
    named += ["<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>"]
    named += _numbered("text_post_train_", range(8, 69))
    named += ["<|image_start|>", "<|image_end|>", *_numbered("vision_", range(2))]
    named += ["<|tile_x_separator|>", "<|tile_y_separator|>", *_numbered("vision_", range(2, 6))]
    named += ["<|image|>", *_numbered("vision_", range(6, 7)), "<|patch|>", *_numbered("vision_", range(7, 1048))]
    named += [*_numbered("reasoning_", range(8)), "<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"]
    return TiktokenLayout(O200K_PATTERN, named + _numbered("", range(2048 - len(named))))


def tokenizer_from_tiktoken(path: Path, layout: TiktokenLayout | None = None) -> Tokenizer:
    """The tokenizer of a tiktoken file.

    layout: None finds Llama 3 or Llama 4 by the number of ranks.
    Raises FileFormatError for a malformed file, UnsupportedModel for an unknown number of ranks.
    """
    ranks = parse_ranks(read_bounded(path, MAX_FILE_BYTES), str(path))
    found = layout if layout is not None else _layout_for(len(ranks), path)
    added = [AddedToken(len(ranks) + i, text, is_special=True) for i, text in enumerate(found.specials)]
    texts = {token.id: token.text for token in added}
    recipe = Recipe(
        kind="byte_level",
        pieces=[*(spell_bytes(piece) for piece in ranks), *(None for _ in added)],
        merges=merges_from_ranks(ranks),
        added=added,
        pre_tokenizer=split_on(found.pattern),
        ignore_merges=True,
        bos_id=next((token_id for token_id, text in texts.items() if text == found.bos), None),
        eos_ids=sorted(turn_end_ids(texts)),
        add_bos=True,
    )
    return Tokenizer(recipe, str(path))


# The first field of the protobuf, its list of pieces; no line of base64 begins with it.
SENTENCEPIECE_START = b"\n"


def parse_ranks(content: bytes, what: str) -> dict[bytes, int]:
    """Pieces to ranks, which must run from 0 without a hole. Raises FileFormatError, UnsupportedModel."""
    if content[:1] == SENTENCEPIECE_START and b"<unk>" in content[:64]:
        raise UnsupportedModel(f"{what} is a SentencePiece model, not Meta's tiktoken; fetch tokenizer.json beside it")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            encoded, rank = fields
            piece = base64.b64decode(encoded, validate=True)
            in_order = int(rank) == len(ranks)
        except (ValueError, binascii.Error) as error:
            raise FileFormatError(f"{what}, line {number}: expected a base64 piece and its rank") from error
        if not in_order or not piece or piece in ranks:
            raise FileFormatError(f"{what}, line {number}: expected a new piece of rank {len(ranks)}; fetch it again")
        ranks[piece] = len(ranks)
    missing = [byte for byte in range(256) if bytes((byte,)) not in ranks]
    if missing:
        raise FileFormatError(f"{what} lacks {len(missing)} of the 256 single bytes; it is cut off, fetch it again")
    return ranks


def _layout_for(num_ranks: int, path: Path) -> TiktokenLayout:
    if num_ranks == LLAMA3_RANKS:
        return llama3_layout()
    if num_ranks == LLAMA4_RANKS:
        return llama4_layout()
    raise UnsupportedModel(
        f"{path} has {num_ranks} ranks, known are {LLAMA3_RANKS} (Llama 3) and {LLAMA4_RANKS} (Llama 4); "
        "use the model's tokenizer.json"
    )
