"""Chat templates: what models write in them, what messages may hold, and what a hostile template cannot do."""

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_samples import CONVERSATIONS, TEMPLATES, WEATHER_TOOL
from text_samples import byte_level_metadata

from wayra.base.errors import FileFormatError, InvalidParameter, TemplateError
from wayra.text.chat import ChatTemplate
from wayra.text.chat_sources import CHATML, chat_template_from_folder, chat_template_from_gguf
from wayra.text.from_gguf import tokenizer_from_gguf
from wayra.text.template_process import TemplateLimits

HELLO = [{"role": "user", "content": "Hello"}]


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def test_chatml_template_renders_a_conversation() -> None:
    assert template(TEMPLATES["smollm2"]).render(CONVERSATIONS["multi_turn"]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\n1 < 2 & 'é'"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_generation_prompt_is_left_out_when_not_wanted() -> None:
    assert template(CHATML).render(HELLO, add_generation_prompt=False) == "<|im_start|>user\nHello<|im_end|>\n"


def test_llama3_template_with_tools_renders_them_as_indented_json() -> None:
    text = template(TEMPLATES["llama3.1"]).render(
        CONVERSATIONS["tool_call"], tools=[WEATHER_TOOL], date_string="26 Jul 2024"
    )
    assert text.startswith("<s><|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n")
    assert "Today Date: 26 Jul 2024\n" in text
    assert json.dumps(WEATHER_TOOL, indent=4, ensure_ascii=False) in text
    assert '{"name": "get_weather", "parameters": {"city": "São Paulo"}}<|eot_id|>' in text
    assert text.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")


def test_current_date_reaches_the_template() -> None:
    before = datetime.datetime.now().strftime("%d %b %Y")
    text = template("{{ strftime_now('%d %b %Y') }}").render(HELLO)
    assert text in {before, datetime.datetime.now().strftime("%d %b %Y")}


def test_template_may_refuse_the_messages_in_its_own_words() -> None:
    with pytest.raises(TemplateError, match=r"refuses these messages: roles must alternate"):
        template(TEMPLATES["mistral"]).render([*HELLO, *HELLO])


def test_blocks_leave_no_blank_lines_behind() -> None:
    source = "{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\n"
    assert template(source).render(HELLO) == "Hello\n"


def test_training_marks_are_passed_over() -> None:
    assert template("a{% generation %}b{%- endgeneration -%} c").render(HELLO) == "abc"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("' x '.strip() ~ 'ab'.upper() ~ 'a,b'.split(',')[-1]", "xABb"),
        ("'x</think>\ny'.split('</think>')[-1].lstrip('\n')", "y"),
        ("'abc'.startswith('ab') and 'abc'.endswith('bc')", "True"),
        ("{'a': 1}.items() | list | length", "1"),
        ("{'b': 1, 'a': [1.5, none, true, 'é<']} | tojson", '{"b": 1, "a": [1.5, null, true, "é<"]}'),
        ("{'b': {'a': 1}} | tojson(indent=2)", '{\n  "b": {\n    "a": 1\n  }\n}'),
        ("messages[::-1][0].content ~ messages[0:][0]['content']", "HelloHello"),
        ("messages | selectattr('role', 'equalto', 'user') | list | length", "1"),
        ("undefined_name is defined", "False"),
        ("tools is none", "True"),
        ("bos_token ~ eos_token", "<s></s>"),
        ("'a' in 'abc' and 'role' in messages[0]", "True"),
    ],
)
def test_expressions_of_real_templates_work(expression: str, text: str) -> None:
    assert template("{{ " + expression + " }}").render(HELLO) == text


def test_order_of_keys_survives() -> None:
    schema = {"zeta": 1, "alpha": {"y": 1, "b": 2}, "mid": [{"q": 1, "a": 2}]}
    assert template("{{ tools[0] | tojson }}").render(HELLO, tools=[schema]) == json.dumps(schema)


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert template("{{ messages[0].content }}").render([{"role": "user", "content": parts}]) == "a\nb"


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "at least one message"),
        ("hi", "must be a list"),
        ([{"content": "x"}], r"messages\[0\]\.role is None"),
        ([{"role": 3, "content": "x"}], r"messages\[0\]\.role is 3"),
        ([*HELLO, {"role": "user"}], r"messages\[1\] has no content"),
        ([{"role": "user", "content": 5}], "content is int, expected a text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "part of type 'image_url'"),
        ([{"role": "user", "content": "x", "extra": b"y"}], "plain JSON"),
        (["hi"], r"messages\[0\] is str"),
    ],
)
def test_malformed_messages_are_named(messages: object, complaint: str) -> None:
    with pytest.raises(InvalidParameter, match=complaint):
        template(CHATML).render(messages)  # type: ignore[arg-type]


def test_assistant_message_may_have_only_tool_calls() -> None:
    source = "{{ messages[0].tool_calls[0].function.arguments }}{{ messages[0].content is none }}"
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}
    assert template(source).render([call]) == '{"a": 1}True'


def test_calls_alone_have_an_empty_text_for_a_template_that_looks_into_it() -> None:
    source = "{% for m in messages %}{% if '</think>' in m.content %}x{% endif %}[{{ m.content }}]{% endfor %}"
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    without = {key: value for key, value in call.items() if key != "content"}
    for message in (call, without):
        assert template(source).render([*HELLO, message]) == "[Hello][]"
    assert (
        template(TEMPLATES["qwen"])
        .render([*HELLO, call])
        .endswith('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>\n<|im_start|>assistant\n')
    )
    with pytest.raises(TemplateError, match="failed"):
        template("{{ messages[0].content() }}").render([call])


_GROWTH = "{{% set n = namespace(s={start}) %}}{{% for i in range(99) %}}{{% set n.s = {step} %}}{{% endfor %}}"
BOMBS = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "long range": "{{ range(99999999999) }}",
    "repeated string": "{{ 'a' * 9999999999 }}",
    "doubled string": _GROWTH.format(start="'aaaaaaaa'", step="n.s ~ n.s"),
    "doubled list": _GROWTH.format(start="[1, 2, 3]", step="n.s + n.s"),
    "replaced string": _GROWTH.format(start="'aaaa'", step="n.s.replace('a', n.s)"),
    "much output": "{% for i in range(99999) %}" + "x" * 100_000 + "{% endfor %}",
    "wide format": "{{ '%999999999d' | format(1) }}",
    "wide indent": "{{ 'a\na' | indent(999999999) }}",
    "wide json": "{{ {'a': {'b': 1}} | tojson(indent=999999999) }}",
    "filled batch": "{{ [1] | batch(999999999, 0) }}",
    "endless recursion": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "deep brackets": "{{ " + "[" * 50_000 + "]" * 50_000 + " }}",
    "deep minus": "{{ " + "- " * 50_000 + "1 }}",
    "long sum": "{{ 1" + " + 1" * 50_000 + " }}",
    "deep attribute": "{{ a" + ".a" * 50_000 + " }}",
    "many filters": "{{ 1" + " | string" * 50_000 + " }}",
    "deep blocks": "{% if 1 %}" * 20_000,
    "file": "{% include '/etc/passwd' %}",
    "unclosed": "{% for x in",
    "python internals": "{{ raise_exception.__globals__.keys() }}",
    "python classes": "{{ ''.__class__.__mro__ }}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_template_ends_in_one_error_and_the_next_one_renders(name: str) -> None:
    bomb = template(BOMBS[name])
    started_s = time.monotonic()
    with pytest.raises(TemplateError):
        bomb.render(HELLO)
    # The limit is 2 s; a loaded machine may take longer to start and end processes.
    assert time.monotonic() - started_s < 20
    bomb.source = "fine"
    assert bomb.render(HELLO) == "fine"


def test_every_bomb_together_stays_within_256_mib_in_this_process() -> None:
    code = (
        "import resource, sys, json\n"
        "from wayra.text.chat import ChatTemplate\n"
        "from wayra.base.errors import TemplateError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "ended = 0\n"
        "for source in json.load(sys.stdin):\n"
        "    try:\n"
        "        ChatTemplate(source, bos_token='', eos_token='').render([{'role': 'user', 'content': 'x'}])\n"
        "    except TemplateError:\n"
        "        ended += 1\n"
        # Not ru_maxrss: that one starts from the size of the process that started this one.
        "peak_kib = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]\n"
        "peak_mib = int(peak_kib) >> 10\n"
        "print(json.dumps([ended, peak_mib]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(list(BOMBS.values())), capture_output=True, text=True, check=True
    )
    ended, peak_mib = json.loads(done.stdout)
    assert ended == len(BOMBS)
    assert peak_mib < 256


def test_slow_template_is_ended_by_the_clock() -> None:
    limits = TemplateLimits(fuel=10**12, seconds=0.3)
    source = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TemplateError, match=r"more than 0\.3 s"):
        ChatTemplate(source, bos_token="", eos_token="", limits=limits).render(HELLO)


def test_oversized_template_is_refused_before_it_runs() -> None:
    with pytest.raises(TemplateError, match="limit is 524288"):
        template("x" * 600_000)


def test_closed_template_renders_again() -> None:
    chat = template(CHATML)
    chat.prepare()
    first = chat.render(HELLO)
    chat.close()
    assert chat.render(HELLO) == first


def test_file_without_template_gets_the_one_of_its_special_tokens() -> None:
    metadata = byte_level_metadata()
    tokenizer = tokenizer_from_gguf(metadata)
    assert chat_template_from_gguf(metadata, tokenizer).source == CHATML
    own = metadata | {"tokenizer.chat_template": "{{ bos_token }}|{{ eos_token }}"}
    assert chat_template_from_gguf(own, tokenizer).render(HELLO) == "<|begin_of_text|>|<|end_of_text|>"
    with pytest.raises(FileFormatError, match=r"tokenizer\.chat_template is int"):
        chat_template_from_gguf(metadata | {"tokenizer.chat_template": 3}, tokenizer)


def test_model_without_template_or_turn_markers_is_no_chat_model() -> None:
    metadata = byte_level_metadata()
    types = [1 if kind == 3 else kind for kind in metadata["tokenizer.ggml.token_type"]]  # type: ignore[attr-defined]
    plain = metadata | {"tokenizer.ggml.token_type": types}
    with pytest.raises(TemplateError, match="no chat template"):
        chat_template_from_gguf(plain, tokenizer_from_gguf(plain))


def test_folder_templates_are_found_in_order(tmp_path: Path) -> None:
    tokenizer = tokenizer_from_gguf(byte_level_metadata())
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named, "eos_token": "</s>"}))
    chat = chat_template_from_folder(tmp_path, tokenizer)
    assert chat.render(HELLO) == "plain"
    assert chat.render(HELLO, tools=[WEATHER_TOOL]) == "tools"
    (tmp_path / "chat_template.jinja").write_text("file {{ eos_token }}")
    assert chat_template_from_folder(tmp_path, tokenizer).render(HELLO) == "file </s>"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": [3]}))
    with pytest.raises(FileFormatError, match="neither a text nor a list"):
        chat_template_from_folder(tmp_path, tokenizer)
