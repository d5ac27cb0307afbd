"""The API of Anthropic: its wire format, and translations to and from the service's calls."""
