"""OpenAI's Responses API without what it keeps: every request brings its whole conversation, nothing is stored."""
