"""Tokens and rendered chats against the tools people use: tiktoken, llama.cpp, transformers' Jinja, its merges."""

import importlib
from pathlib import Path

import pytest
from chat_samples import CONVERSATIONS, TEMPLATES, WEATHER_TOOL
from text_samples import difficult_texts, llama_models_folder, sentencepiece_metadata

from wayra.text.chat import ChatTemplate
from wayra.text.from_gguf import recipe_from_gguf, tokenizer_from_gguf
from wayra.text.from_tiktoken import tokenizer_from_tiktoken


@pytest.mark.parametrize("generation", [3, 4])
def test_meta_tokenizers_equal_their_reference_code(generation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tiktoken")
    folder = llama_models_folder()
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module(f"llama_models.llama{generation}.tokenizer")
    path = folder / "llama_models" / f"llama{generation}" / "tokenizer.model"
    reference = module.Tokenizer(path)
    tokenizer = tokenizer_from_tiktoken(path)
    assert (tokenizer.vocab_size, tokenizer.bos_id) == (reference.n_words, reference.bos_id)
    assert tokenizer.eos_ids == set(reference.stop_tokens)
    assert {text: tokenizer.special_id(text) for text in reference.special_tokens} == reference.special_tokens
    for text in difficult_texts(4000, seed=generation):
        assert tokenizer.encode(text) == reference.encode(text, bos=True, eos=False)
        ids = reference.encode(text, bos=False, eos=False, allowed_special="all")
        assert tokenizer.encode(text, add_bos=False, parse_special=True) == ids
    for token_id in range(tokenizer.vocab_size):
        assert tokenizer.token_bytes(token_id) == reference.model.decode_single_token_bytes(token_id)


@pytest.mark.peer
def test_smollm2_tokens_equal_llama_cpp(smollm2_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    gguf = pytest.importorskip("gguf")
    reference = llama_cpp.Llama(str(smollm2_path), vocab_only=True, verbose=False)
    fields = gguf.GGUFReader(smollm2_path).fields
    tokenizer = tokenizer_from_gguf({k: f.contents() for k, f in fields.items() if k.startswith("tokenizer.")})
    spelt = {token for token_id in range(tokenizer.vocab_size) if len(token := tokenizer.token_bytes(token_id)) == 1}
    for text in difficult_texts(3000, seed=21):
        # Its vocabulary lacks some bytes; the two drop them at different moments, and llama.cpp ends at a zero byte.
        if any(bytes((byte,)) not in spelt for byte in text.encode()) or "\0" in text:
            continue
        for parse_special in (False, True):
            expected = reference.tokenize(text.encode(), add_bos=False, special=parse_special)
            assert tokenizer.encode(text, parse_special=parse_special) == expected


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("conversation", sorted(CONVERSATIONS))
@pytest.mark.parametrize("with_tools", [False, True])
def test_templates_render_as_transformers_renders_them(template: str, conversation: str, with_tools: bool) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    tools = [WEATHER_TOOL] if with_tools else None
    chat = ChatTemplate(TEMPLATES[template], bos_token="<s>", eos_token="</s>")
    for add_generation_prompt in (False, True):
        expected, _ = utils.render_jinja_template(
            conversations=[CONVERSATIONS[conversation]],
            tools=tools,
            chat_template=TEMPLATES[template],
            add_generation_prompt=add_generation_prompt,
            bos_token="<s>",
            eos_token="</s>",
            date_string="1 Jan 2025",
        )
        text = chat.render(
            CONVERSATIONS[conversation],
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            date_string="1 Jan 2025",
        )
        assert text == expected[0]


def test_sentencepiece_merges_equal_the_converter_of_transformers() -> None:
    convert = pytest.importorskip("transformers.convert_slow_tokenizer")
    metadata = sentencepiece_metadata()
    tokens, scores = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.scores"]
    assert isinstance(tokens, list)
    assert isinstance(scores, list)
    ids = {token: token_id for token_id, token in enumerate(tokens)}
    specials = tokens[:259]
    expected = convert.generate_merges(ids, dict(zip(tokens, scores, strict=True)), skip_tokens=specials)
    merges = recipe_from_gguf(metadata).merges
    assert [(tokens[a], tokens[b]) for a, b in zip(merges[0::2], merges[1::2], strict=True)] == expected
    assert expected
