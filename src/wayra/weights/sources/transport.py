"""HTTP for what we fetch ourselves: the proxy, the certificates and the credentials pip is configured with.

Only HTTP and HTTPS, credentials only to the origin they were given for, never from HTTPS down to HTTP.
"""

import base64
import http.client
import ipaddress
import netrc
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from wayra.weights.sources.pip_config import LeaveToPip, PipConfig

USER_AGENT = "wayra"
NETWORK_ERRORS = (OSError, http.client.HTTPException)

_Headers = Mapping[str, str]
# What pip may know an answer to: credentials from a keyring, a proxy's other ways to be asked.
_DENIED = frozenset({401, 403, 407})


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port. Raises ValueError on a port that is none."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


def without_credentials(url: str) -> str:
    """Fit to be requested, and to be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Transport:
    """Opens URLs. Raises LeaveToPip where the configuration, or the other side, asks for what only pip can do."""

    def __init__(self, config: PipConfig) -> None:
        self._config = config
        self._credentials = _Credentials(config)
        self._opener = urllib.request.OpenerDirector()
        proxies = {"http": config.proxy, "https": config.proxy} if config.proxy else None
        for handler in (
            urllib.request.ProxyHandler(proxies),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=_tls(config.certificates)),
            _Redirects(self._credentials),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ):
            self._opener.add_handler(handler)

    def open(self, url: str, headers: _Headers) -> http.client.HTTPResponse:
        """GET; the caller closes the answer. Raises NETWORK_ERRORS (urllib.error.HTTPError from status 400 on)."""
        try:
            request = urllib.request.Request(without_credentials(url), headers={"User-Agent": USER_AGENT, **headers})
            self._credentials.add_to(request)
            return self._opener.open(request, timeout=self._config.timeout_s)
        except urllib.error.HTTPError as error:
            if error.code in _DENIED:
                error.close()
                raise LeaveToPip(f"{urlsplit(url).hostname} asks for credentials") from error
            raise
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise LeaveToPip(f"the certificate of {urlsplit(url).hostname} is not trusted here") from error
            if isinstance(error.reason, str):
                # No refusal of the network: a scheme, of the URL or of the proxy, that this library does not speak.
                raise LeaveToPip("the index or its proxy is of a kind only pip can use") from error
            raise
        except ValueError as error:
            raise LeaveToPip("an address of the index is malformed") from error

    def may_be_believed(self, url: str) -> bool:
        """Whether nobody on the way can change what this URL says: encrypted, this machine's own, or declared so."""
        try:
            scheme, host, port = origin_of(url)
        except ValueError:
            return False
        trusted = self._config.trusted_hosts
        return scheme == "https" or (
            scheme == "http" and (_is_loopback(host) or host in trusted or f"{host}:{port}" in trusted)
        )


class _Credentials:
    """User and password by origin: from the configured URLs, else from the user's netrc file."""

    def __init__(self, config: PipConfig) -> None:
        self._by_origin: dict[tuple[str, str, int | None], tuple[str, str]] = {}
        for url in (*config.indexes, *config.find_links):
            try:
                parts = urlsplit(url)
                if parts.username:
                    self._by_origin[origin_of(url)] = (unquote(parts.username), unquote(parts.password or ""))
            except ValueError:
                raise LeaveToPip("an address of the index is malformed") from None

    def add_to(self, request: urllib.request.Request) -> None:
        origin = origin_of(request.full_url)
        known = self._by_origin.get(origin) or _from_netrc(origin[1])
        if known is not None:
            token = base64.b64encode(":".join(known).encode()).decode("ascii")
            # Unredirected: another origin must not see it.
            request.add_unredirected_header("Authorization", f"Basic {token}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, credentials: _Credentials) -> None:
        self._credentials = credentials

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise LeaveToPip("the index leads away from HTTPS")
        request = super().redirect_request(req, fp, code, msg, headers, without_credentials(newurl))  # pyright: ignore
        if request is not None:
            self._credentials.add_to(request)
        return request


def _tls(certificates: str | None) -> ssl.SSLContext:
    if certificates is None:
        return ssl.create_default_context()
    try:
        path = Path(certificates).expanduser()
        return ssl.create_default_context(capath=path) if path.is_dir() else ssl.create_default_context(cafile=path)
    except (OSError, ValueError, RuntimeError) as error:
        raise LeaveToPip(f"the certificates of {certificates} cannot be read") from error


def _from_netrc(host: str) -> tuple[str, str] | None:
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError, RuntimeError, ValueError):
        return None
    return (found[0] or found[1] or "", found[2] or "") if found else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
