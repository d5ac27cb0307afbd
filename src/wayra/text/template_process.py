"""Runs templates in a process of their own, with limits on time and memory that the renderer itself cannot keep.

Knows nothing of messages or models.
"""

import importlib.util
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wayra.base.errors import InvalidParameter, TemplateError
from wayra.text.child_watch import ChildWatch
from wayra.text.template_worker import encode_frame, read_frame


class TemplateFailed(TemplateError):
    """The template cannot be evaluated, at least not with these messages."""


@dataclass(frozen=True, slots=True)
class TemplateLimits:
    """fuel: instructions of the renderer. seconds: processor time of one rendering (see ChildWatch).

    memory_bytes: address space of the process. max_output_chars, max_source_chars: of the result and of the template.
    """

    fuel: int = 2_000_000
    seconds: float = 2.0
    memory_bytes: int = 256 << 20
    max_output_chars: int = 16 << 20
    max_source_chars: int = 512 << 10


class TemplateProcess:
    """A renderer that survives whatever a template does. Thread-safe: one rendering at a time.

    The process starts with the first rendering, or with `prepare`, and ends with `close` or with this object.
    """

    def __init__(self, limits: TemplateLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Start the process now, in the background, so that the first rendering need not wait for it."""
        with self._lock:
            self._running_child()

    def render(self, source: str, context: Mapping[str, object]) -> str:
        """Raises TemplateFailed if the template is wrong, or cannot do what it wants with these messages; TemplateError
        if it refuses them or exceeds a limit, InvalidParameter if the context is not JSON."""
        request = {
            "source": source,
            "context": context,
            "fuel": self._limits.fuel,
            "memory_bytes": self._limits.memory_bytes,
            "max_output_chars": self._limits.max_output_chars,
        }
        try:
            frame = encode_frame(request)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidParameter(f"messages and tools must be plain JSON values: {error}") from error
        with self._lock:
            answer = self._exchange(frame)
        if "refused" in answer:
            raise TemplateError(f"the chat template refuses these messages: {answer['refused']}")
        if "text" not in answer:
            raise TemplateFailed(f"the chat template failed: {answer.get('error')}; use another template")
        return answer["text"]

    def close(self) -> None:
        """End the process; a later rendering starts another."""
        with self._lock:
            self._drop_child()

    def _exchange(self, frame: bytes) -> Mapping[str, str]:
        child = self._running_child()
        if child.stdin is None or child.stdout is None:
            raise TemplateError("the template process has no pipes; this is a bug")
        watch = ChildWatch(child, self._limits.seconds)
        answer: Mapping[str, str] | None = None
        try:
            child.stdin.write(frame)
            child.stdin.flush()
            # Every character of the output may take six bytes as an escape.
            answer = read_frame(child.stdout, 6 * self._limits.max_output_chars + 4096)
        except OSError:
            answer = None  # the process ended; the cause is named below
        finally:
            watch.end()
            if answer is None:
                self._drop_child()
        if answer is None:
            raise TemplateError(
                f"the chat template used more than {self._limits.seconds:g} s or "
                f"{self._limits.memory_bytes >> 20} MiB; use another template"
            )
        return answer

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._drop_child()
            self._child = _start_child()
            weakref.finalize(self, _end_child, self._child)
        return self._child

    def _drop_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            _end_child(child)


def _start_child() -> subprocess.Popen[bytes]:
    found = importlib.util.find_spec("minijinja")
    if found is None or found.origin is None:
        raise TemplateError("the package minijinja is not installed; install wayra again")
    worker = Path(__file__).with_name("template_worker.py")
    # -I -S: no user code, no site packages but the one folder; it also halves the start.
    command = [sys.executable, "-I", "-S", str(worker), str(Path(found.origin).parents[1])]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the program, not for its renderer
        )
    except OSError as error:
        raise TemplateError(f"the template process cannot be started: {error.strerror or error}") from error


def _end_child(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # unsent bytes of a request nobody reads any more
