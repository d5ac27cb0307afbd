"""The bench: traffic against a target or prefill and decode of a model, recorded as a run."""
