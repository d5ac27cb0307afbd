"""A facade's model behind a server's OpenAI-compatible API. Imported only where a url is given."""

from wayra.llm.remote.host import RemoteHost

__all__ = ["RemoteHost"]
