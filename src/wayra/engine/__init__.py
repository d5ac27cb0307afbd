"""Requests in, token ids out: scheduling, paged KV, prefix cache, sampling parameters. Knows no text."""
