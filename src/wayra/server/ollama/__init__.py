"""The API of Ollama: its wire format, and translations to and from the service's calls."""
