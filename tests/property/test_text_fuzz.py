"""Mutated tokenizer files load or raise one of our errors; nothing else gets out."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from text_samples import byte_level_metadata, sentencepiece_metadata

from wayra.base.errors import WayraError
from wayra.text.from_gguf import recipe_from_gguf, tokenizer_from_gguf
from wayra.text.from_json import tokenizer_from_folder
from wayra.text.from_tiktoken import TiktokenLayout, tokenizer_from_tiktoken
from wayra.text.recipe import build_backend
from wayra.text.tokenizer import Tokenizer

STRANGE = [
    None,
    True,
    -1,
    0,
    3,
    10**20,
    1.5,
    float("nan"),
    "",
    "x",
    "Ġ",
    "\ud800",
    b"\xff",
    [],
    ["a"],
    [1],
    {},
    {"a": 1},
]
JSON_STRANGE = [None, True, -1, 0, 3, 10**20, 1.5, "", "x", "ByteLevel", "Sequence", [], ["a"], [[]], {}, {"type": "x"}]


def use(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("hello <|im_end|> world 12 é 漢", parse_special=True)
    tokenizer.decode([*ids, 0, 1, tokenizer.vocab_size])
    Tokenizer.from_bytes(tokenizer.to_bytes())


def loads_or_refuses(load: Callable[[], Tokenizer]) -> bool:
    try:
        use(load())
    except WayraError as error:
        message = str(error)
    else:
        return True
    assert 0 < len(message) < 1000
    return False


def mutate_value(draw: random.Random, value: object) -> object:
    """`value` with one thing in it replaced, dropped, repeated or swapped."""
    if isinstance(value, list) and value and draw.random() < 0.8:
        changed = list(value)
        at = draw.randrange(len(changed))
        act = draw.randrange(4)
        if act == 0:
            changed[at] = draw.choice(STRANGE)
        elif act == 1:
            del changed[at]
        elif act == 2:
            changed.insert(at, changed[draw.randrange(len(changed))])
        else:
            other = draw.randrange(len(changed))
            changed[at], changed[other] = changed[other], changed[at]
        return changed
    return draw.choice(STRANGE)


def mutate_json(draw: random.Random, node: object) -> object:
    """One place in a JSON tree, chosen at random, made strange."""
    if isinstance(node, dict) and node and draw.random() < 0.9:
        key = draw.choice(list(node))
        if draw.random() < 0.1:
            return {k: v for k, v in node.items() if k != key}
        return node | {key: mutate_json(draw, node[key])}
    if isinstance(node, list) and node and draw.random() < 0.9:
        at = draw.randrange(len(node))
        return [*node[:at], mutate_json(draw, node[at]), *node[at + 1 :]]
    return draw.choice(JSON_STRANGE)


def mutate_bytes(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed))
        act = draw.randrange(4)
        if act == 0:
            changed[at] = draw.randrange(256)
        elif act == 1:
            del changed[at : at + draw.randint(1, 20)]
        elif act == 2:
            changed[at:at] = changed[max(0, at - draw.randint(1, 20)) : at]
        else:
            changed = changed[: at + 1]
    return bytes(changed)


@pytest.mark.parametrize("base", [byte_level_metadata, sentencepiece_metadata])
def test_mutated_gguf_metadata_loads_or_is_refused(base: Callable[[], dict[str, object]], fuzz_cases: int) -> None:
    draw = random.Random(11)
    refused = 0
    for _ in range(fuzz_cases):
        metadata = base()
        for _ in range(draw.randint(1, 2)):
            key = draw.choice(list(metadata))
            metadata[key] = mutate_value(draw, metadata[key])
        refused += not loads_or_refuses(lambda metadata=metadata: tokenizer_from_gguf(metadata))
    assert refused > 0


def test_mutated_tokenizer_json_loads_or_is_refused(tmp_path: Path, fuzz_cases: int) -> None:
    draw = random.Random(12)
    backend = build_backend(recipe_from_gguf(byte_level_metadata("llama-bpe")), "test")
    backend.add_special_tokens(["<s>"])
    tree = json.loads(backend.to_str()) | {"decoder": {"type": "ByteLevel"}}
    path = tmp_path / "tokenizer.json"
    refused = 0
    for number in range(fuzz_cases):
        if number % 2:
            path.write_text(json.dumps(mutate_json(draw, tree)))
        else:
            path.write_bytes(mutate_bytes(draw, json.dumps(tree).encode()))
        refused += not loads_or_refuses(lambda: tokenizer_from_folder(tmp_path))
    assert refused > 0


def test_mutated_tiktoken_file_loads_or_is_refused(tmp_path: Path, fuzz_cases: int) -> None:
    import base64

    draw = random.Random(13)
    pieces = [*(bytes((byte,)) for byte in range(256)), b"he", b"ll", b"llo", b"hello"]
    content = b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces))
    path = tmp_path / "tokenizer.model"
    refused = 0
    for _ in range(fuzz_cases):
        path.write_bytes(mutate_bytes(draw, content))
        layout = TiktokenLayout(r"\w+|\W+", ["<s>", "<|im_end|>"], bos="<s>")
        refused += not loads_or_refuses(lambda layout=layout: tokenizer_from_tiktoken(path, layout))
    assert refused > 0


def test_mutated_serialised_tokenizer_loads_or_is_refused(fuzz_cases: int) -> None:
    draw = random.Random(14)
    content = tokenizer_from_gguf(byte_level_metadata()).to_bytes()
    refused = 0
    for number in range(fuzz_cases):
        if number % 2:
            changed = json.dumps(mutate_json(draw, json.loads(content))).encode()
        else:
            changed = mutate_bytes(draw, content)
        refused += not loads_or_refuses(lambda changed=changed: Tokenizer.from_bytes(changed))
    assert refused > 0
