"""run, tokenize, perplexity and info, in this process, on the backend of predictable tokens and the real tokenizer."""

import io
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from model_files import TinyShape, tiny_gguf
from text_samples import byte_level_metadata

from wayra.base.settings import Settings
from wayra.cli.generation import for_terminal
from wayra.cli.main import main
from wayra.cli.perplexity import _whole_characters  # pyright: ignore[reportPrivateUsage]
from wayra.engine.request import SamplingParams
from wayra.llm import LLM


class Printed(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        (line,) = self.out.splitlines()
        return json.loads(line)


Call = Callable[..., Printed]


@pytest.fixture
def call(
    tmp_path_factory: pytest.TempPathFactory,
    smollm2_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Run a verb on the null backend: call("run", "hi", stdin=b"...")."""
    monkeypatch.setenv("WAYRA_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))

    def do(verb: str, *args: str, stdin: bytes = b"", model: Path | str | None = smollm2_path) -> Printed:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        named = [] if model is None or verb == "info" else ["-m", str(model)]
        backend = ["--backend", "null"] if verb in {"run", "perplexity"} else []
        code = main([verb, *named, *backend, *args])
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return do


@pytest.fixture
def llm(smollm2_path: Path, tmp_path: Path) -> Any:
    with LLM(smollm2_path, settings=Settings(cache_dir=tmp_path), backend="null") as llm:
        yield llm


def base_model(folder: Path) -> Path:
    """A model with a tokenizer but neither a chat template nor turn markers."""
    metadata = byte_level_metadata()
    pieces = metadata["tokenizer.ggml.tokens"]
    assert isinstance(pieces, list)
    file = tiny_gguf(TinyShape(vocab=len(pieces)))
    file.entries = [entry for entry in file.entries if b"tokenizer.ggml.tokens" not in entry]
    kinds = {"model": "str", "pre": "str", "token_type": "[i32]", "add_bos_token": "bool"}
    for key, value in metadata.items():
        name = key.removeprefix("tokenizer.ggml.")
        kind = kinds.get(name, "u32" if isinstance(value, int) else "[str]")
        file.add(key, kind, [str(p).replace("im_", "mark_") for p in pieces] if name == "tokens" else value)
    return file.write(folder / "base.gguf")


def greedy(count: int) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=count)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_run_prints_the_answer_to_the_prompt_as_a_chat_and_ends_the_line(call: Call, llm: LLM) -> None:
    printed = call("run", "--max-tokens", "8", "Why", "is", "it?")
    assert printed == (0, llm.chat(user("Why is it?"), greedy(8)).text + "\n", "")


def test_run_appends_standard_input_to_the_prompt(call: Call, llm: LLM) -> None:
    printed = call("run", "--max-tokens", "8", "Summarise:", stdin="Ein Märchen\n".encode())
    assert printed.out == llm.chat(user("Summarise:\n\nEin Märchen\n"), greedy(8)).text + "\n"
    only_stdin = call("run", "--max-tokens", "8", stdin=b"Hello")
    assert only_stdin.out == llm.chat(user("Hello"), greedy(8)).text + "\n"


def test_run_raw_continues_the_text_as_it_is(call: Call, llm: LLM) -> None:
    printed = call("run", "--raw", "--max-tokens", "8", "Once upon")
    assert printed.out == llm.generate("Once upon", greedy(8))[0].text + "\n"


def test_run_puts_the_system_message_first(call: Call, llm: LLM) -> None:
    printed = call("run", "--system", "Be brief.", "--max-tokens", "8", "Hi")
    asked = [{"role": "system", "content": "Be brief."}, *user("Hi")]
    assert printed.out == llm.chat(asked, greedy(8)).text + "\n"


def test_run_takes_a_first_word_of_two_that_names_a_model_as_the_model(
    call: Call, llm: LLM, smollm2_path: Path
) -> None:
    printed = call("run", "--max-tokens", "4", str(smollm2_path), "Hi", model=None)
    assert printed.out == llm.chat(user("Hi"), greedy(4)).text + "\n"


def test_run_as_json_is_one_object_with_text_counts_and_times(call: Call, llm: LLM) -> None:
    printed = call("run", "--json", "--speculate", "off", "--max-tokens", "8", "Hi")
    result = printed.result
    assert result["text"] == llm.chat(user("Hi"), greedy(8)).text
    assert result["finish_reason"] == "length"
    assert result["usage"] == {
        "prompt_tokens": len(llm.prompt_ids(user("Hi"))),
        "cached_tokens": 0,
        "completion_tokens": 8,
        "drafted_tokens": 0,
        "accepted_tokens": 0,
    }
    assert result["timings"]["ttft_s"] > 0
    assert result["timings"]["decode_tokens_per_s"] > 0


def test_run_stats_come_on_stderr_and_leave_the_answer_alone(call: Call) -> None:
    plain = call("run", "--max-tokens", "8", "Hi")
    with_stats = call("run", "--max-tokens", "8", "--stats", "Hi")
    assert with_stats.out == plain.out
    labels = [line.split("  ")[0] for line in with_stats.err.splitlines()]
    assert labels == ["load", "prompt", "first token", "answer", "memory"]
    assert "8 tokens" in with_stats.err


def test_run_speculates_as_it_is_told_and_says_how_often_it_guessed_right(call: Call, smollm2_path: Path) -> None:
    # The same model as its own draft is always right, if it is asked at all: that depends on the time it takes.
    args = ("--json", "--max-tokens", "64", "words")
    plain = call("run", "--speculate", "off", *args).result
    guessed = call("run", "--draft-model", str(smollm2_path), *args).result
    assert plain["text"] == guessed["text"]
    assert plain["usage"]["drafted_tokens"] == 0
    assert guessed["usage"]["accepted_tokens"] == guessed["usage"]["drafted_tokens"]


def test_run_answers_in_the_structure_it_is_told(call: Call, tmp_path: Path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.lark"
    one_key = {"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"]}
    schema.write_text(json.dumps(one_key | {"additionalProperties": False}))
    grammar.write_text('start: "<" /[ab]{3}/ ">"')
    assert json.loads(call("run", "--json-schema", str(schema), "--max-tokens", "400", "hi").out)["n"] in (1, 22)
    assert call("run", "--choice", "yes", "--choice", "no", "hi").out in ("yes\n", "no\n")
    assert re.fullmatch("[0-9]{3}-x\n", call("run", "--regex", "[0-9]{3}-x", "hi").out)
    assert re.fullmatch("<[ab]{3}>\n", call("run", "--grammar", str(grammar), "hi").out)


def test_run_refuses_a_structure_it_cannot_enforce_in_one_line(call: Call, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "uniqueItems": true}')
    refused = call("run", "--json-schema", str(schema), "hi")
    assert (refused.code, refused.out, refused.err.count("\n"), "uniqueItems" in refused.err) == (2, "", 1, True)
    schema.write_bytes(b"\xff")
    assert "not UTF-8" in call("run", "--json-schema", str(schema), "hi").err
    both = call("run", "--regex", "a", "--json-object", "hi")
    assert (both.code, "give one of them" in both.err) == (2, True)


def test_run_ends_before_a_stop_string(call: Call) -> None:
    free = call("run", "--json", "--max-tokens", "8", "Hi").result["text"]
    stopped = call("run", "--json", "--max-tokens", "8", "--stop", free[5:9], "Hi").result
    assert (stopped["text"], stopped["finish_reason"]) == (free[:5], "stop")


def test_run_with_a_seed_repeats_itself_and_without_temperature_needs_none(call: Call) -> None:
    warm = ["--json", "--max-tokens", "8", "-t", "1.5", "--seed"]
    one, again, other = (call("run", *warm, seed, "Hi").result["text"] for seed in ("1", "1", "2"))
    assert one == again != other


@pytest.mark.parametrize(
    ("args", "said", "code"),
    [
        ([], "nothing to answer; give a prompt", 2),
        (["--raw", "--system", "x", "Hi"], "--raw has no system message", 2),
        (["--top-p", "1.5", "Hi"], "top_p is 1.5, expected 0 to 1", 2),
        (["--temperature", "nan", "Hi"], "temperature is nan", 2),
        (["--max-tokens", "0", "Hi"], "0 is not in the range", 2),
        (["--context", "9000", "Hi"], "context_len is 9,000 tokens", 2),
        (["--context", "40", "word " * 100], "(a context of 40)", 1),
        (["--speculate", "draft", "Hi"], "without a draft_model (--draft-model)", 2),
        (["--speculate", "off", "--draft-model", "x", "Hi"], "needs no draft_model", 2),
        (["--draft-model", "no/such.gguf", "Hi"], "no/such.gguf", 1),
    ],
)
def test_run_refuses_in_one_sentence(call: Call, args: list[str], said: str, code: int) -> None:
    printed = call("run", *args)
    assert printed.code == code
    assert printed.out == ""
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_run_says_when_the_piped_text_is_not_text(call: Call) -> None:
    printed = call("run", "Summarise", stdin=b"abc\xff\xfe")
    assert (printed.code, printed.err) == (
        1,
        "wayra: error: standard input is not UTF-8 text (byte 3); convert it first\n",
    )


def test_a_broken_model_file_is_refused_in_one_sentence(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    printed = call("run", "Hi", model=path)
    assert (printed.code, printed.out) == (1, "")
    assert str(path) in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_missing_model_is_refused_in_one_sentence(call: Call) -> None:
    printed = call("run", "Hi", model="/nowhere/model.gguf")
    assert printed.code == 1
    assert "/nowhere/model.gguf" in printed.err
    assert len(printed.err.splitlines()) == 1


def test_tokenize_shows_ids_and_pieces_that_decode_to_the_text(call: Call) -> None:
    result = call("tokenize", "--json", "Hello, wörld 🏔").result
    assert result["count"] == len(result["ids"]) == len(result["pieces"])
    assert "".join(result["pieces"][:3]) == "Hello, w"
    back = call("tokenize", "--decode", "--json", *map(str, result["ids"])).result
    assert back == {"text": "Hello, wörld 🏔", "count": result["count"]}


def test_tokenize_takes_a_folder_that_holds_only_a_tokenizer(call: Call, tmp_path: Path) -> None:
    import base64

    lines = [base64.b64encode(bytes([byte])) + f" {byte}".encode() for byte in range(256)]
    lines += [base64.b64encode(f"piece {rank}".encode()) + f" {rank}".encode() for rank in range(256, 128_000)]
    (tmp_path / "tokenizer.model").write_bytes(b"\n".join(lines))
    result = call("tokenize", "-m", str(tmp_path), "--json", "Hi<|eot_id|>").result
    assert result["ids"] == [128_000, ord("H"), ord("i"), 128_009]
    assert result["pieces"][-1] == "<|eot_id|>"


def test_tokenize_prints_ids_counts_or_a_table(call: Call) -> None:
    ids = call("tokenize", "--json", "Hello").result["ids"]
    assert call("tokenize", "--ids", "Hello").out == " ".join(map(str, ids)) + "\n"
    assert call("tokenize", "--count", stdin=b"Hello").out == f"{len(ids)}\n"
    assert call("tokenize", "Hello").out.split() == [str(ids[0]), "'Hello'"]


def test_tokenize_recognises_control_tokens_unless_told_not_to(call: Call) -> None:
    marked = call("tokenize", "<|im_start|>").out
    assert marked.split() == ["1", "'<|im_start|>'", "control"]
    assert call("tokenize", "--json", "--no-special", "<|im_start|>").result["count"] > 1
    assert call("tokenize", "--decode", "--no-special", "1 28120").out == "hello"


@pytest.mark.parametrize(("ids", "said"), [("1 x", "'x' is not a token id"), ("49152", "outside the vocabulary")])
def test_tokenize_refuses_what_is_no_token(call: Call, ids: str, said: str) -> None:
    printed = call("tokenize", "--decode", ids)
    assert printed.code == 2
    assert said in printed.err


def test_perplexity_of_a_file_is_that_of_the_facade(call: Call, llm: LLM, tmp_path: Path) -> None:
    text = "The wind blows over the mountains, and the condor with it. " * 20
    path = tmp_path / "text.txt"
    path.write_text(text)
    expected = llm.perplexity(text, context_len=64)
    result = call("perplexity", "--context", "64", "--json", str(path)).result
    assert result["perplexity"] == pytest.approx(expected.perplexity)
    assert result["standard_error"] == pytest.approx(expected.standard_error)
    assert (result["tokens"], result["windows"], result["definition"]) == (expected.tokens, expected.windows, "halves")
    assert math.isfinite(result["tokens_per_s"])
    printed = call("perplexity", "--context", "64", "-", stdin=text.encode())
    assert printed.out.startswith(f"perplexity {expected.perplexity:.4f} ± {expected.standard_error:.4f} over ")


def test_perplexity_may_score_every_token(call: Call) -> None:
    text = b"The wind blows over the mountains, and the condor with it. " * 5
    count = call("tokenize", "--json", stdin=text).result["count"]
    result = call("perplexity", "--context", "32", "--stride", "16", "--json", "-", stdin=text).result
    assert (result["tokens"], result["definition"]) == (count - 1, "sliding")


def test_perplexity_limits_the_bytes_it_reads_to_whole_characters(call: Call) -> None:
    text = ("ä" * 200).encode()
    limited = call("perplexity", "--context", "8", "--limit-bytes", "101", "--json", "-", stdin=text).result
    whole = call("perplexity", "--context", "8", "--json", "-", stdin=text[:100]).result
    assert limited["perplexity"] == whole["perplexity"]
    assert limited["tokens"] == whole["tokens"]


@pytest.mark.parametrize("character", ["a", "é", "€", "🏔"])
def test_only_a_character_cut_in_two_is_left_out(character: str) -> None:
    encoded = ("xy" + character).encode()
    assert _whole_characters(encoded) == encoded
    for cut in range(1, len(character.encode())):
        assert _whole_characters(encoded[:-cut]) == b"xy"


@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        (["-"], b"short", "one window needs 512"),
        (["/nowhere.txt"], b"", "/nowhere.txt"),
        (["-"], b"\xff", "not UTF-8"),
        (["--context", "9000", "-"], b"text", "9,000"),
    ],
)
def test_perplexity_refuses_in_one_sentence(call: Call, args: list[str], stdin: bytes, said: str) -> None:
    printed = call("perplexity", *args, stdin=stdin)
    assert printed.code in {1, 2}
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_info_names_version_backends_threads_memory_and_cache(call: Call, tmp_path: Path) -> None:
    result = call("info", "--json").result
    assert set(result["backends"]) == {"native", "numpy", "null"}
    assert result["backends"]["numpy"]["available"] is True
    assert result["threads"]["processors"] >= 1
    assert 0 < result["memory"]["available_bytes"] <= result["memory"]["total_bytes"]


def test_info_adds_up_what_the_cache_holds(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "one").mkdir(parents=True)
    (tmp_path / "models" / "one" / "weights").write_bytes(b"x" * 1000)
    (tmp_path / "models" / "record").write_bytes(b"x" * 500)
    monkeypatch.setenv("WAYRA_CACHE", str(tmp_path))
    assert call("info", "--json").result["cache"] == {
        "path": str(tmp_path),
        "writable": True,
        "folders": {"models": 1500},
    }
    assert "1.5 kB" in call("info").out


def test_info_says_why_the_native_backend_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wayra.backends.native.backend", None)
    monkeypatch.delattr("wayra.backends.native.backend", raising=False)
    native = call("info", "--json").result["backends"]["native"]
    assert native["available"] is False
    assert native["reason"]


def test_run_without_the_native_library_says_so_and_computes_nothing_slowly(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wayra.backends.native.backend", None)
    printed = call("run", "--backend", "native", "Hi")
    assert (printed.code, printed.out) == (1, "")
    assert "the native library cannot be loaded" in printed.err
    assert "--backend numpy" in printed.err


def test_a_model_without_template_is_continued_as_it_is(call: Call, tmp_path: Path) -> None:
    path = base_model(tmp_path)
    raw = call("run", "--raw", "--max-tokens", "3", "--json", "a", model=path)
    plain = call("run", "--max-tokens", "3", "--json", "a", model=path)
    assert (plain.code, raw.code) == (0, 0)
    assert plain.result["text"] == raw.result["text"]
    refused = call("run", "--system", "x", "a", model=path)
    assert refused.code == 2
    assert "takes no --system" in refused.err


def test_what_would_drive_a_terminal_is_shown_as_text() -> None:
    assert for_terminal("a\tb\nc\x1b[2Jd\re\x9bf é🏔") == "a\tb\nc\\x1b[2Jd\\x0de\\x9bf é🏔"
