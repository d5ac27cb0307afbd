"""Finds a model's chat template: in GGUF metadata, in a folder, or by its special tokens when it brings none."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from wayra.base.errors import FileFormatError, TemplateError
from wayra.text.chat import ChatTemplate
from wayra.text.files import read_bounded, read_optional_object
from wayra.text.from_json import MAX_CONFIG_BYTES, token_text
from wayra.text.metadata import read_string
from wayra.text.tokenizer import Tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Used when a file has no template but its vocabulary has <|im_start|> and <|im_end|>."""

LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] "
    "+ '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
"""Used when a file has no template but its vocabulary has <|start_header_id|> and <|eot_id|>."""

LLAMA4 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|header_start|>' + message['role'] + '<|header_end|>\\n\\n' "
    "+ message['content'] | trim + '<|eot|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|header_start|>assistant<|header_end|>\\n\\n' }}{% endif %}"
)
"""Used when a file has no template but its vocabulary has <|header_start|> and <|eot|>."""


def chat_template_from_gguf(metadata: Mapping[str, object], tokenizer: Tokenizer) -> ChatTemplate:
    """The template a GGUF file brings, or the default for its special tokens.

    Raises TemplateError when there is neither, FileFormatError if it is not text.
    """
    eos_id = metadata.get("tokenizer.ggml.eos_token_id")
    eos_token = _text_of(tokenizer, eos_id if isinstance(eos_id, int) else None)
    source = read_string(metadata, "tokenizer.chat_template")
    tool_source = read_string(metadata, "tokenizer.chat_template.tool_use")
    return _make(source, tool_source, tokenizer, eos_token)


def chat_template_from_folder(folder: Path, tokenizer: Tokenizer) -> ChatTemplate:
    """The template of a model folder, or the default for its special tokens.

    `chat_template.jinja` comes before `chat_template.json` and `tokenizer_config.json`.
    Raises TemplateError when there is none, FileFormatError for malformed files.
    """
    config = read_optional_object(folder / "tokenizer_config.json", MAX_CONFIG_BYTES)
    eos_token = token_text(config, "eos_token")
    templates = _named_templates(config.get("chat_template"))
    templates |= _named_templates(
        read_optional_object(folder / "chat_template.json", MAX_CONFIG_BYTES).get("chat_template")
    )
    for name, path in (
        ("default", folder / "chat_template.jinja"),
        ("tool_use", folder / "additional_chat_templates" / "tool_use.jinja"),
    ):
        if path.exists():
            templates[name] = _read_text(path)
    return _make(templates.get("default"), templates.get("tool_use"), tokenizer, eos_token or "")


def default_source(tokenizer: Tokenizer) -> str:
    """The template that goes with the tokenizer's special tokens. Raises TemplateError if none does."""
    for source, tokens in (
        (CHATML, ("<|im_start|>", "<|im_end|>")),
        (LLAMA3, ("<|start_header_id|>", "<|eot_id|>")),
        (LLAMA4, ("<|header_start|>", "<|eot|>")),
    ):
        if all(tokenizer.special_id(token) is not None for token in tokens):
            return source
    raise TemplateError(
        "the model has no chat template and none of the known turn markers; it is no chat model, use plain generation"
    )


def _make(source: str | None, tool_source: str | None, tokenizer: Tokenizer, eos_token: str) -> ChatTemplate:
    return ChatTemplate(
        default_source(tokenizer) if source is None else source,
        bos_token=_text_of(tokenizer, tokenizer.bos_id),
        eos_token=eos_token,
        tool_source=tool_source,
    )


def _text_of(tokenizer: Tokenizer, token_id: int | None) -> str:
    if token_id is None or token_id < 0:
        return ""
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")


def _named_templates(value: object) -> dict[str, str]:
    """A template, or a list of objects with name and template."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    templates: dict[str, str] = {}
    for entry in cast(list[object], value) if isinstance(value, list) else [value]:
        fields = cast(Mapping[str, object], entry if isinstance(entry, Mapping) else {})
        name, template = fields.get("name"), fields.get("template")
        if not isinstance(name, str) or not isinstance(template, str):
            raise FileFormatError("chat_template is neither a text nor a list of names and templates")
        templates[name] = template
    return templates


def _read_text(path: Path) -> str:
    try:
        return read_bounded(path, MAX_CONFIG_BYTES).decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not UTF-8 text; fetch the model again") from error
