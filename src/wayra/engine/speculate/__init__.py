"""Speculative decoding: guesses of the next tokens, checked several in one step; the answer stays the same."""
