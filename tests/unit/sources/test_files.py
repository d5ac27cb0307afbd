"""Which files of a repository make one model."""

import pytest

from wayra.base.errors import ModelNotFound, UnsupportedModel
from wayra.weights.sources.files import INDEX_NAME, choose, gguf_models, quant_of, shards_of


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "Q4_K_M"),
        ("model-fp16.gguf", "F16"),
        ("model.BF16.gguf", "BF16"),
        ("x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("x-IQ3_XXS.gguf", "IQ3_XXS"),
        ("Q8_0/model-Q6_K.gguf", "Q6_K"),
        ("qwen2-7b.gguf", None),
        ("Q.gguf", None),
    ],
)
def test_the_quantisation_is_read_from_the_name(name: str, quant: str | None) -> None:
    assert quant_of(name) == quant


def test_splits_are_one_model_and_incomplete_ones_none() -> None:
    files = [
        "a-00001-of-00002.gguf",
        "a-00002-of-00002.gguf",
        "b-00001-of-00003.gguf",
        "c.gguf",
        "mmproj-c.gguf",
        "x.md",
    ]
    assert gguf_models(files) == {
        "a-00001-of-00002.gguf": ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf"),
        "c.gguf": ("c.gguf",),
    }


def test_the_quantisation_asked_for_is_found_whatever_its_case() -> None:
    files = ["m-q8_0.gguf", "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf", "README.md"]
    assert choose("o/r", files, quant="Q8_0").weights == ("m-q8_0.gguf",)
    split = choose("o/r", files, quant="q4_k_m")
    assert split.entry == "Q4_K_M/m-Q4_K_M-00001-of-00002.gguf"
    assert len(split.weights) == 2


def test_without_a_quantisation_the_preferred_one_is_taken_and_unreadable_ones_are_not() -> None:
    files = ["m-IQ2_M.gguf", "m-Q8_0.gguf", "m-Q4_0.gguf", "m-F16.gguf"]
    assert choose("o/r", files).entry == "m-Q4_0.gguf"
    assert choose("o/r", [*files, "m-Q4_K_M.gguf"]).entry == "m-Q4_K_M.gguf"
    with pytest.raises(UnsupportedModel, match="IQ2_M"):
        choose("o/r", ["m-IQ2_M.gguf"])
    with pytest.raises(UnsupportedModel, match=r"IQ2_M is not a format wayra reads.*Q4_0"):
        choose("o/r", files, quant="IQ2_M")


def test_an_absent_quantisation_is_answered_with_those_there_are() -> None:
    with pytest.raises(ModelNotFound, match=r"no Q5_K_M GGUF; it has Q4_0, Q8_0"):
        choose("o/r", ["m-Q8_0.gguf", "m-Q4_0.gguf"], quant="Q5_K_M")


def test_two_models_of_one_quantisation_are_not_guessed_between() -> None:
    files = ["a-Q4_0.gguf", "b-Q4_0.gguf"]
    with pytest.raises(ModelNotFound, match=r"several Q4_0 GGUF models: a-Q4_0\.gguf, b-Q4_0\.gguf"):
        choose("o/r", files, quant="Q4_0")
    assert choose("o/r", files, file="b-Q4_0.gguf").weights == ("b-Q4_0.gguf",)


def test_only_what_a_safetensors_model_needs_is_fetched() -> None:
    files = [
        "README.md", "config.json", "tokenizer.json", "modeling_evil.py", "pytorch_model.bin", "model.safetensors",
        "consolidated.safetensors", "original/consolidated.00.pth", "onnx/model.onnx",
    ]  # fmt: skip
    chosen = choose("o/r", files)
    assert chosen.entry == "."
    assert chosen.weights == ("model.safetensors",)
    assert chosen.companions == ("config.json", "tokenizer.json")


def test_shards_come_from_the_index() -> None:
    files = ["config.json", INDEX_NAME, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    chosen = choose("o/r", files)
    assert chosen.needs_index
    assert chosen.companions == (INDEX_NAME, "config.json")
    assert shards_of(["b.safetensors", "a.safetensors", "a.safetensors"]) == ("a.safetensors", "b.safetensors")


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/x.safetensors", "x.bin", "a/b.safetensors", ""])
def test_a_shard_that_is_no_plain_file_name_is_refused(shard: str) -> None:
    with pytest.raises(UnsupportedModel):
        shards_of([shard])


def test_pickles_are_never_chosen() -> None:
    with pytest.raises(UnsupportedModel, match="pickled"):
        choose("o/r", ["config.json", "pytorch_model.bin"])
    with pytest.raises(ModelNotFound, match="no model wayra reads"):
        choose("o/r", ["README.md"])
    with pytest.raises(ModelNotFound, match=r"has no file 'x\.gguf'"):
        choose("o/r", ["y.gguf"], file="x.gguf")
