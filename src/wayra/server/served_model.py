"""A loaded model with all that answering needs of it: its text, its tools, its grammars, and its engine's thread."""

from collections.abc import Callable, Sequence

from wayra.engine.grammar import GrammarCompiler
from wayra.engine.settings import Limits
from wayra.llm.load import Loaded
from wayra.llm.prompts import PromptReader
from wayra.server.engine_thread import EngineThread
from wayra.server.metrics import RequestMetrics
from wayra.server.tool_calling import ToolCalling


class ServedModel:
    """names: what clients may call it, the first in answers. metrics: of all its requests, those before it was loaded
    again too.
    """

    def __init__(
        self, loaded: Loaded, names: Sequence[str], on_death: Callable[[Exception], None], metrics: RequestMetrics
    ) -> None:
        self.loaded = loaded
        self.names = tuple(names)
        self.tokenizer = loaded.tokenizer
        self.reader = PromptReader(loaded.tokenizer, loaded.template, loaded.spec.vocab_size)
        self.grammars = GrammarCompiler(loaded.tokenizer, loaded.spec.vocab_size)
        self.calling = ToolCalling(loaded.tokenizer, loaded.template)
        self.limits: Limits = loaded.engine.limits
        self.eos_ids = frozenset(i for i in loaded.tokenizer.eos_ids if i < loaded.spec.vocab_size)
        self.thread = EngineThread(loaded.engine, on_death)
        self.metrics = metrics

    @property
    def name(self) -> str:
        return self.names[0]

    def held_bytes(self) -> int:
        """Of weights, KV cache and activations."""
        memory = self.loaded.memory()
        return memory.weights_bytes + memory.kv_bytes + memory.activation_bytes

    def close(self) -> bool:
        """Stop the engine and free the model. False when its step does not end: nothing is freed then."""
        is_stopped = self.thread.close()
        if is_stopped:
            self.loaded.release()
        return is_stopped
