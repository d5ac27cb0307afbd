"""A lean HTTP/1.1 client for streams, whose clock reads when bytes arrive and whose every failure has a name."""

from wayra.client.failures import Failure, RequestFailed
from wayra.client.http import HttpClient, HttpLimits, Response
from wayra.client.sse import SseSplitter

__all__ = ["Failure", "HttpClient", "HttpLimits", "RequestFailed", "Response", "SseSplitter"]
