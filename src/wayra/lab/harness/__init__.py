"""Other people's harnesses on our models: EleutherAI's in this process, Inspect over HTTP. Extras, imported late."""
