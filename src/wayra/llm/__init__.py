"""The offline facade: text in, text out, any backend. `from wayra.llm import LLM`."""

from wayra.engine.request import SamplingParams, TokenLogprob
from wayra.llm.facade import LLM
from wayra.llm.options import LLMOptions
from wayra.llm.results import Chunk, Completion, Timings, Usage
from wayra.llm.scoring import Perplexity
from wayra.llm.streams import AsyncTokenStream, TokenStream

__all__ = [
    "LLM",
    "AsyncTokenStream",
    "Chunk",
    "Completion",
    "LLMOptions",
    "Perplexity",
    "SamplingParams",
    "Timings",
    "TokenLogprob",
    "TokenStream",
    "Usage",
]
