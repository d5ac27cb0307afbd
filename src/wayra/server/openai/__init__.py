"""The API of OpenAI: its wire format, and translations to and from the service's calls."""
