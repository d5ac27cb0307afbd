"""How far one model's predictions are from another's: what quantising cost, without asking a single question."""

from wayra.lab.divergence.measure import Divergence, diverge

__all__ = ["Divergence", "diverge"]
