"""From a model's name to a loaded engine: resolve, open, record, check memory, load. Text is read meanwhile."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from wayra.backends.api import Backend, BackendOptions, MemoryReport, Model
from wayra.base.errors import BackendError
from wayra.base.settings import Settings
from wayra.engine.engine import Engine
from wayra.engine.settings import EngineSettings
from wayra.llm.memory import (
    KVPlan,
    available_bytes,
    check_available,
    kv_bytes_per_block,
    kv_dtype_beside,
    plan_kv,
    planned_bytes,
)
from wayra.llm.options import LLMOptions
from wayra.llm.prefixes import stored_prefixes
from wayra.llm.tokenizers import is_tokenizer_alone, load_template, load_tokenizer
from wayra.model.program import Program
from wayra.model.record import record
from wayra.model.spec import ModelSpec
from wayra.text.tokenizer import Tokenizer
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.tensors import Checkpoint, ModelWeights

if TYPE_CHECKING:
    from wayra.engine.speculate.draft_model import DraftModel
    from wayra.llm.draft import DraftSource
    from wayra.text.chat import ChatTemplate
    from wayra.weights.sources import Progress

LEAST_STEP_TOKENS = 512

T = TypeVar("T")


class Later(Generic[T]):
    """A value computed in a thread of its own while the caller goes on; its exception is raised by `get`."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(compute,), name="wayra-load", daemon=True)
        self._thread.start()

    def _run(self, compute: Callable[[], T]) -> None:
        try:
            self._value.append(compute())
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Until it is done, whatever came of it."""
        self._thread.join()

    def get(self) -> T:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value[0]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything the facade needs of one model.

    digest: 64 hex digits of the files it came from (`Checkpoint.digest`).
    settle: moves about so many bytes more of what a quick start left on disk, between steps; True while some are left.
    release: frees the model; call it once, when the engine is at rest. load_s: what `load` took.
    """

    name: str
    source: str
    digest: str
    spec: ModelSpec
    tokenizer: Tokenizer
    template: "ChatTemplate | None"
    engine: Engine
    plan: KVPlan
    memory: Callable[[], MemoryReport]
    settle: Callable[[int], bool]
    release: Callable[[], None]
    load_s: float


def load(
    name: str,
    settings: Settings,
    options: LLMOptions,
    progress: "Progress | None" = None,
    memory_bytes: int | None = None,
) -> Loaded:
    """Load a model by path, alias, hub repository or package.

    memory_bytes: plan with this much, as long as it is there; None plans with all that is available.
    Raises WayraError: ModelNotFound, SourceError, FileFormatError, UnsupportedModel, InvalidParameter, OutOfMemory,
    BackendError. Nothing stays open when it raises.
    """
    from wayra.weights.sources import resolve

    started = time.perf_counter()
    backend = make_backend(options.backend, settings)
    local = resolve(name, settings, progress=progress, offline=settings.hub_offline)
    # The weights are packed, or held by the arrays that need them: an open mapping would only count twice.
    with ExitStack() as files, ExitStack() as made:
        checkpoint = open_checkpoint(local.path)
        files.callback(checkpoint.close)
        draft = _opened_draft(options, settings, progress)
        if draft is not None:
            files.callback(draft.checkpoint.close)
        planned = _plan(checkpoint, draft, settings, options, memory_bytes)
        # From here on the weights are read by native code, so that both threads run at once.
        text = Later(lambda: _load_text(checkpoint, settings, options))
        files.callback(text.wait)
        models = _load_models(planned, draft, backend)
        for model in models:
            made.callback(model.close)
        tokenizer, template = text.get()
        if template is not None:
            made.callback(template.close)
        drafter = None if draft is None else _draft_model(models, draft, tokenizer, planned.kv, options, settings)
        stored = stored_prefixes(models[0], checkpoint.digest, settings, options)
        engine = Engine(models[0], _engine_settings(planned.kv, options), tokenizer.eos_ids, drafter, stored)
        made.callback(engine.close)
        return Loaded(
            name=local.name,
            source=local.source,
            digest=checkpoint.digest,
            spec=models[0].spec,
            tokenizer=tokenizer,
            template=template,
            engine=engine,
            plan=planned.kv,
            memory=lambda: _total([model.memory() for model in models]),
            settle=lambda max_bytes: any(model.settle(max_bytes) for model in models),
            release=made.pop_all().close,
            load_s=time.perf_counter() - started,
        )


def load_tokenizer_of(name: str, settings: Settings, progress: "Progress | None" = None) -> Tokenizer:
    """Only the tokenizer of a model: no weights are read, and a folder need not hold any. Raises as `load`."""
    from wayra.weights.sources import resolve

    if is_tokenizer_alone(Path(name)):
        from wayra.text.from_json import tokenizer_from_folder

        return tokenizer_from_folder(Path(name))
    local = resolve(name, settings, progress=progress, offline=settings.hub_offline)
    checkpoint = open_checkpoint(local.path)
    try:
        return load_tokenizer(checkpoint, settings.cache_dir)
    finally:
        checkpoint.close()


def _load_text(
    checkpoint: Checkpoint, settings: Settings, options: LLMOptions
) -> "tuple[Tokenizer, ChatTemplate | None]":
    if options.renderer is None and not options.prepare_chat:
        tokenizer = load_tokenizer(checkpoint, settings.cache_dir)
        return tokenizer, load_template(checkpoint, tokenizer)
    from wayra.text.template_process import TemplateLimits, TemplateProcess

    renderer = options.renderer or TemplateProcess(TemplateLimits())
    renderer.prepare()  # its start takes as long as the tokenizer's
    with ExitStack() as unused:
        unused.callback(renderer.close)
        tokenizer = load_tokenizer(checkpoint, settings.cache_dir)
        template = load_template(checkpoint, tokenizer)
        if template is not None:
            template.prepare(renderer)
            unused.pop_all()
    return tokenizer, template


def make_backend(name: str, settings: Settings) -> Backend:
    """Raises BackendError when it is not available here. Never takes a slower one instead."""
    if name == "null":
        from wayra.backends.null import NullBackend

        return NullBackend()
    if name == "numpy":
        from wayra.backends.numpy.backend import NumpyBackend

        return NumpyBackend()
    try:
        from wayra.backends.native.backend import NativeBackend
        from wayra.weights.packed_cache import default_root
    except ImportError as error:
        raise BackendError(
            f"the native library cannot be loaded ({error}); reinstall wayra with a C++ compiler, "
            "or choose the slow backend with backend='numpy' (--backend numpy)"
        ) from error
    return NativeBackend(default_root(settings))


@dataclass(frozen=True, slots=True)
class _Planned:
    """What a backend needs to load the model, and the room there is beside it."""

    program: Program
    weights: ModelWeights
    options: BackendOptions
    kv: KVPlan


def _plan(
    checkpoint: Checkpoint,
    draft: "DraftSource | None",
    settings: Settings,
    options: LLMOptions,
    memory_bytes: int | None,
) -> _Planned:
    spec = model_spec(checkpoint)
    weights = load_weights(checkpoint, spec)
    need_bytes = weights_bytes(weights, options)
    kv_dtype = options.kv_dtype or kv_dtype_beside(weights)
    block_bytes = kv_bytes_per_block(spec, kv_dtype)
    if draft is not None:
        need_bytes += weights_bytes(draft.weights, options)
        block_bytes += kv_bytes_per_block(draft.spec, kv_dtype)
    available = available_bytes()
    plan = plan_kv(spec, options, need_bytes, available if memory_bytes is None else memory_bytes, block_bytes)
    if memory_bytes is not None:
        check_available(planned_bytes(need_bytes, plan, block_bytes), available)
    # Guesses are rows too: room for one full run of them beside the batch.
    guess_rows = 0 if options.speculation == "off" else options.draft_tokens
    max_rows = max(options.max_batch + guess_rows, options.score_rows)
    backend_options = BackendOptions(
        max_step_tokens=max(LEAST_STEP_TOKENS, max_rows),
        max_step_seqs=max_rows,
        kv_dtype=kv_dtype,
        threads=options.threads or settings.threads,
        isa=options.isa or settings.isa,
        map_weights=options.map_weights,
        quick_start=options.quick_start,
    )
    return _Planned(record(spec), weights, backend_options, plan)


def _load_models(planned: _Planned, draft: "DraftSource | None", backend: Backend) -> list[Model]:
    """The model and, if there is one, the draft model. Nothing stays loaded when it raises."""
    model = backend.load(planned.program, planned.weights, planned.options)
    if draft is None:
        return [model]
    try:
        return [model, backend.load(record(draft.spec), draft.weights, planned.options)]
    except BaseException:
        model.close()
        raise


def _opened_draft(options: LLMOptions, settings: Settings, progress: "Progress | None") -> "DraftSource | None":
    if options.draft_model is None:
        return None
    from wayra.llm.draft import open_draft

    return open_draft(options.draft_model, settings, progress)


def _draft_model(
    models: Sequence[Model],
    draft: "DraftSource",
    tokenizer: Tokenizer,
    plan: KVPlan,
    options: LLMOptions,
    settings: Settings,
) -> "DraftModel":
    """The second model, to guess for the first. Raises InvalidParameter unless they read text alike."""
    from wayra.engine.speculate.draft_model import DraftModel
    from wayra.llm.draft import check_tokenizers

    check_tokenizers(tokenizer, draft, settings)
    return DraftModel(models[1], models[0].spec.vocab_size, plan.num_blocks, options.max_batch, plan.context_len)


def _total(reports: Sequence[MemoryReport]) -> MemoryReport:
    return MemoryReport(
        sum(report.weights_bytes for report in reports),
        sum(report.kv_bytes for report in reports),
        sum(report.activation_bytes for report in reports),
    )


def weights_bytes(weights: ModelWeights, options: LLMOptions) -> int:
    """Memory the matrices cannot do without: as stored, four bytes a weight in the specification, nothing on disk or
    without maths."""
    parts = [part for weight in weights.matrices.values() for part in weight.parts]
    if options.backend == "null" or options.map_weights:
        return 0
    if options.backend == "numpy":
        return sum(part.rows * part.cols * 4 for part in parts)
    return sum(part.tensor.data.nbytes for part in parts)


def _engine_settings(plan: KVPlan, options: LLMOptions) -> EngineSettings:
    return EngineSettings(
        max_context=plan.context_len,
        kv_blocks=plan.num_blocks,
        prefix_cache=options.prefix_cache,
        max_running=options.max_batch,
        speculate=options.speculation,
        draft_tokens=options.draft_tokens,
    )
