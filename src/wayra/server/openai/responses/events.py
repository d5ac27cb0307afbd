"""The events of a streamed response. Every one is numbered; the last one holds the whole response."""

import time
from collections.abc import Iterator

import msgspec

from wayra.server.errors import ApiError
from wayra.server.generation import Piece, Totals
from wayra.server.openai.answers import chat_logprobs
from wayra.server.openai.responses.answers import (
    CallItem,
    Failure,
    Incomplete,
    MessageItem,
    OutputText,
    ResponseAnswer,
    usage_of,
)
from wayra.server.openai.responses.output import Output, Step
from wayra.server.served_model import ServedModel

_encode = msgspec.json.Encoder().encode


def ended(answer: ResponseAnswer, output: Output, totals: Totals, is_cut: bool) -> None:
    """Write into the response what has come of it. is_cut: by its length."""
    answer.status = "incomplete" if is_cut else "completed"
    answer.incomplete_details = Incomplete() if is_cut else None
    answer.output = output.items
    answer.usage = usage_of(totals)
    answer.completed_at = None if is_cut else int(time.time())


class ResponseEncoder:
    """One stream. answer: as it begins; it is written on."""

    media_type = "text/event-stream"

    def __init__(self, answer: ResponseAnswer, model: ServedModel) -> None:
        self._answer = answer
        self._output = Output(model.calling.format.new_id)
        self._tokenizer = model.tokenizer
        self._sequence = 0
        self._is_cut = False

    def begin(self) -> bytes:
        """The response without its output, twice, as clients expect."""
        return self._whole("response.created") + self._whole("response.in_progress")

    def piece(self, piece: Piece) -> bytes:
        """Items begun, continued and ended."""
        if piece.finish_reason is not None:
            self._is_cut = piece.finish_reason == "length"
        return b"".join([event for step in self._steps(piece) for event in self._written(step)])

    def end(self, totals: Totals) -> bytes:
        """What is open ends; then the whole response."""
        last = b"".join([event for step in self._output.finish(self._is_cut) for event in self._written(step)])
        ended(self._answer, self._output, totals, self._is_cut)
        return last + self._whole("response.incomplete" if self._is_cut else "response.completed")

    def failed(self, error: ApiError) -> bytes:
        """The response with its error, and with the items that were complete."""
        answer = self._answer
        answer.status = "failed"
        answer.error = Failure("server_error" if error.status >= 500 else "invalid_prompt", error.message)
        answer.output = [item for item in self._output.items if item.status != "in_progress"]
        return self._whole("response.failed")

    def _steps(self, piece: Piece) -> Iterator[Step]:
        for event in piece.events:
            yield from self._output.event(event)
        if piece.text or piece.logprobs:
            yield from self._output.text(piece.text, chat_logprobs(piece.logprobs, self._tokenizer).content)

    def _written(self, step: Step) -> Iterator[bytes]:
        item, index = step.item, step.index
        if step.kind == "opened":
            yield self._event("response.output_item.added", {"output_index": index, "item": item})
        if isinstance(item, MessageItem):
            yield from self._of_message(step, item)
        else:
            yield from self._of_call(step, item)
        if step.kind == "closed":
            yield self._event("response.output_item.done", {"output_index": index, "item": item})

    def _of_message(self, step: Step, item: MessageItem) -> Iterator[bytes]:
        place = {"item_id": item.id, "output_index": step.index, "content_index": 0}
        if step.kind == "opened":
            yield self._event("response.content_part.added", {**place, "part": OutputText("")})
        elif step.kind == "grew":
            yield self._event("response.output_text.delta", {**place, "delta": step.delta, "logprobs": step.logprobs})
        else:
            (part,) = item.content
            yield self._event("response.output_text.done", {**place, "text": part.text, "logprobs": part.logprobs})
            yield self._event("response.content_part.done", {**place, "part": part})

    def _of_call(self, step: Step, item: CallItem) -> Iterator[bytes]:
        place = {"item_id": item.id, "output_index": step.index}
        if step.kind == "grew":
            yield self._event("response.function_call_arguments.delta", {**place, "delta": step.delta})
        elif step.kind == "closed":
            done = {**place, "name": item.name, "arguments": item.arguments}
            yield self._event("response.function_call_arguments.done", done)

    def _whole(self, kind: str) -> bytes:
        return self._event(kind, {"response": self._answer})

    def _event(self, kind: str, fields: dict[str, object]) -> bytes:
        data = _encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
