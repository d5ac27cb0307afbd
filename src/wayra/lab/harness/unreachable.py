"""Tells from another program's words that it wanted questions from the hub and could not have them."""

HUB_MARKS = ("huggingface", "on the hub", "localentrynotfound", "offlinemodeisenabled")


def wants_hub(words: str) -> bool:
    """Whether an error that a harness or the library of its data sets raised is of the hub."""
    found = words.lower()
    return any(mark in found for mark in HUB_MARKS)
