"""The program of the process in which chat templates run. Started by `template_process`, never imported by the rest.

A template from a model file is untrusted code: fuel ends its loops, but a string doubled thirty times is a gigabyte
after a hundred instructions, and a failed allocation ends the process. So it is this process that ends: its memory is
limited and it holds nothing of value. It imports nothing of wayra, to start fast.

Frames in both directions: 8 bytes of length, little-endian, then JSON.
Request: source, context, fuel, max_output_chars, memory_bytes. Answer: text, or refused (the template called
raise_exception), or error.
"""

import datetime
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

MAX_FRAME_BYTES = 1 << 30

_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


class _Refusal(Exception):
    pass


def serve(incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Answer requests until the other side closes."""
    while (request := read_frame(incoming, MAX_FRAME_BYTES)) is not None:
        write_frame(outgoing, _answer(request))


def read_frame(stream: IO[bytes], max_bytes: int) -> dict[str, Any] | None:
    """The next frame, None at the end of the stream or when the frame is cut off or too long."""
    header = stream.read(8)
    length = int.from_bytes(header, "little")
    if len(header) < 8 or length > max_bytes:
        return None
    content = stream.read(length)
    return json.loads(content) if len(content) == length else None


def write_frame(stream: IO[bytes], message: Mapping[str, object]) -> None:
    """Send one frame at once."""
    stream.write(encode_frame(message))
    stream.flush()


def encode_frame(message: Mapping[str, object]) -> bytes:
    """A frame. Lone surrogates travel escaped. Raises what json.dumps raises."""
    content = json.dumps(message).encode()
    return len(content).to_bytes(8, "little") + content


def _answer(request: Mapping[str, Any]) -> dict[str, str]:
    _limit_memory(request["memory_bytes"])
    refusals: list[str] = []
    try:
        text = _render(request, refusals)
    except MemoryError:
        return {"error": "it needs too much memory"}
    except BaseException as error:  # a panic of the Rust side is not an Exception
        return {"refused": refusals[0]} if refusals else {"error": _first_line(error)}
    if len(text) > request["max_output_chars"]:
        return {"error": f"its output of {len(text)} characters is over the limit of {request['max_output_chars']}"}
    return {"text": text}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _render(request: Mapping[str, Any], refusals: list[str]) -> str:
    import minijinja

    def raise_exception(message: object = "") -> None:
        refusals.append(str(message)[:1000])
        raise _Refusal

    environment = minijinja.Environment(
        fuel=request["fuel"],
        trim_blocks=True,
        lstrip_blocks=True,
        undefined_behavior="lenient",
        debug=False,
        globals={"raise_exception": raise_exception, "strftime_now": _strftime_now},
        filters={"tojson": _to_json},
    )
    # Marks what the model wrote, for training; rendering needs only what it encloses.
    source = _GENERATION.sub(lambda m: f"{m[1]}{'endif' if m[2] else 'if true'}{m[3]}", request["source"])
    return environment.render_str(source, "chat_template", **request["context"])


def _strftime_now(layout: str) -> str:
    return datetime.datetime.now().strftime(layout)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: Sequence[str] | None = None,
    sort_keys: bool = False,
) -> str:
    pair = None if separators is None else (separators[0], separators[1])
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=pair, sort_keys=sort_keys)


def _limit_memory(memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system; the time limit still holds
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    importlib.import_module("minijinja")  # before the first request comes
    serve(sys.stdin.buffer, sys.stdout.buffer)
