"""wayra: run, serve, quantise and measure Llama-family models.

Importing the package is cheap: the facade is loaded on first use, so that neither NumPy nor the native
library is touched by `import wayra` alone.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["LLM", "SamplingParams", "__version__"]

if TYPE_CHECKING:
    from wayra.engine.request import SamplingParams
    from wayra.llm import LLM


def __getattr__(name: str) -> Any:
    if name == "LLM":
        from wayra.llm import LLM

        return LLM
    if name == "SamplingParams":
        from wayra.engine.request import SamplingParams

        return SamplingParams
    raise AttributeError(f"module 'wayra' has no attribute {name!r}")
