"""How a model is to be loaded: one frozen dataclass, validated when made."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from wayra.base.errors import InvalidParameter
from wayra.engine.settings import MAX_DRAFT_TOKENS, SPECULATION

if TYPE_CHECKING:
    from wayra.text.template_process import TemplateProcess

KV_DTYPES = ("int8", "int16", "bf16", "f16", "f32")
BACKENDS = ("native", "numpy", "null")
MAX_BATCH = 1024


class OptionFields(TypedDict, total=False):
    """The keyword arguments of `LLM`, for type checkers and editors: the fields of LLMOptions."""

    backend: str
    context_len: int | None
    threads: int | None
    kv_dtype: str | None
    max_batch: int
    prefix_cache: bool
    isa: str | None
    prepare_chat: bool
    renderer: "TemplateProcess | None"
    score_rows: int
    speculate: str | None
    draft_model: str | None
    draft_tokens: int
    prefix_disk_mb: int | None
    map_weights: bool
    quick_start: bool


@dataclass(frozen=True, slots=True)
class LLMOptions:
    """backend: "native" (C++), "numpy" (the slow specification) or "null" (no maths, for tests of what stands above).

    context_len: prompt and answer together, in tokens; None takes the model's own, at most 8192, less when memory is
    short.
    threads, isa: compute threads and instruction set; None lets settings, then the backend, choose.
    kv_dtype: "int8", "int16", "bf16", "f16" or "f32". None: "int8" beside quantised weights, whose rounding hides that
    of the cache, else "int16". max_batch: requests computed side by side.
    prefix_cache: keep the keys and values of past prompts so that a repeated beginning costs nothing.
    prefix_disk_mb: the most of them to keep on disk too, in MiB, so that they outlive the process; 0 keeps none. None:
    what the settings say, else 4 GiB or a twentieth of the free disk.
    prepare_chat: start the renderer of chat templates while the weights load, so that the first chat need not wait.
    renderer: one that was started already; it belongs to the model from then on.
    score_rows: logits computed at a time for prompt log-probabilities and perplexity; more is faster and takes a
    vocabulary of floats each.
    speculate: guess tokens and check several in one step, which makes answers faster and never different: "lookup"
    copies from the prompt and the answer so far, "draft" asks draft_model, "off" does neither. None: "draft" when there
    is a draft_model, else "lookup".
    draft_model: name of a smaller model with the same tokenizer. draft_tokens: the most to guess at a time.
    map_weights: leave the packed weights on disk, for a model larger than memory; every step then reads from there what
    the system has no room for.
    quick_start: answer from weights on disk at first, and move them to memory when nobody has asked for a moment. Saves
    most of loading; until they are moved, answers come a few per cent slower.
    """

    backend: str = "native"
    context_len: int | None = None
    threads: int | None = None
    kv_dtype: str | None = None
    max_batch: int = 16
    prefix_cache: bool = True
    isa: str | None = None
    prepare_chat: bool = False
    renderer: "TemplateProcess | None" = None
    score_rows: int = 64
    speculate: str | None = None
    draft_model: str | None = None
    draft_tokens: int = 15
    prefix_disk_mb: int | None = None
    map_weights: bool = False
    quick_start: bool = False

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InvalidParameter(f"backend is {self.backend!r}, expected one of {', '.join(BACKENDS)}")
        if self.kv_dtype is not None and self.kv_dtype not in KV_DTYPES:
            raise InvalidParameter(f"kv_dtype is {self.kv_dtype!r}, expected one of {', '.join(KV_DTYPES)}")
        _in_range("context_len", self.context_len, 1, 2**31 - 1)
        _in_range("threads", self.threads, 1, 4096)
        _in_range("max_batch", self.max_batch, 1, MAX_BATCH)
        _in_range("score_rows", self.score_rows, 1, MAX_BATCH)
        _in_range("prefix_disk_mb", self.prefix_disk_mb, 0, 10**9)
        _in_range("draft_tokens", self.draft_tokens, 1, MAX_DRAFT_TOKENS)
        if self.map_weights and self.backend != "native":
            raise InvalidParameter(f'map_weights (--mmap) is for the native backend, not for "{self.backend}"')
        if self.speculate is not None and self.speculate not in SPECULATION:
            raise InvalidParameter(f"speculate is {self.speculate!r}, expected one of {', '.join(SPECULATION)}")
        if self.speculate == "draft" and self.draft_model is None:
            raise InvalidParameter('speculate is "draft" without a draft_model (--draft-model); name one, or "lookup"')
        if self.speculate in ("off", "lookup") and self.draft_model is not None:
            raise InvalidParameter(
                f'speculate is "{self.speculate}", which needs no draft_model; leave one of them out'
            )

    @property
    def speculation(self) -> str:
        """`speculate` with None resolved."""
        if self.speculate is not None:
            return self.speculate
        return "lookup" if self.draft_model is None else "draft"


def _in_range(name: str, value: int | None, least: int, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidParameter(f"{name} is {value!r}, expected a whole number from {least} to {most}")


def options_from(fields: OptionFields) -> LLMOptions:
    """LLMOptions from keyword arguments. Raises InvalidParameter naming an unknown one."""
    known = LLMOptions.__dataclass_fields__
    for name in fields:
        if name not in known:
            raise InvalidParameter(f"LLM has no option {name!r}; it has {', '.join(known)}")
    return LLMOptions(**fields)
