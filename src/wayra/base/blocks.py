"""How large a block of the KV cache is: known to the engine, its backends and the planner, and needing no library."""

KV_BLOCK_LEN = 32
"""Tokens in a KV block. A multiple of every vector width, small enough to share short prefixes."""
