"""Tool formats without a model, answers in them, and the events of an answer however it is cut."""

from collections.abc import Collection, Iterable

from wayra.text.tools import ArgumentsDelta, CallEnd, CallStart, TextDelta, ToolEvent, ToolFormat, tool_format

TEMPLATES = {
    "hermes": "{% if tools %}<tools>{{ tools }}</tools> <tool_call>{% endif %}",
    "llama3_json": '{% if tools %}Respond in the format {"name": function name, "parameters": dictionary}'
    """{{ '{"name": "' + call.name + '", ' }}{{ '"parameters": ' }}{% endif %}""",
    "pythonic": "{% if tools %}[func_name1(params_name1=params_value1, params_name2=params_value2...)]{% endif %}",
    "mistral": "{% if tools %}[AVAILABLE_TOOLS]{{ tools }}[TOOL_CALLS] [{% endif %}",
    "mistral_args": "{% if tools %}[TOOL_CALLS]{{ name }}[ARGS]{{ arguments }}{% endif %}",
}


class Specials:
    """Control tokens by text; the others are plain."""

    def __init__(self, ids: dict[str, int] | None = None) -> None:
        self._ids = ids or {}

    def special_id(self, text: str) -> int | None:
        return self._ids.get(text)

    def is_special(self, token_id: int) -> bool:
        return token_id in self._ids.values()


def format_of(kind: str, specials: dict[str, int] | None = None) -> ToolFormat:
    """One of TEMPLATES."""
    found = tool_format(TEMPLATES[kind], Specials(specials))
    assert found is not None
    return found


def events_of(fmt: ToolFormat, pieces: Iterable[str], names: Collection[str] | None = None) -> list[ToolEvent]:
    """The events of an answer that came in pieces, neighbouring deltas joined."""
    parser = fmt.parser(names)
    found = [event for piece in pieces for event in parser.push(piece)] + parser.finish()
    joined: list[ToolEvent] = []
    for event in found:
        last = joined[-1] if joined else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            joined[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ArgumentsDelta) and isinstance(last, ArgumentsDelta) and last.index == event.index:
            joined[-1] = ArgumentsDelta(last.index, last.text + event.text)
        else:
            joined.append(event)
    return joined


def call(index: int, name: str, arguments: str, is_whole: bool = True) -> list[ToolEvent]:
    """The events of one call."""
    return [CallStart(index, name), ArgumentsDelta(index, arguments), CallEnd(index, is_whole)]
