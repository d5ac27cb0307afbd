"""What pip is configured to do on this machine, told by pip itself, as far as a download of ours must honour it.

What cannot be honoured here is left to pip: `LeaveToPip` says why.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from wayra.weights.sources.pip_command import run_pip

DEFAULT_TIMEOUT_S = 15.0
DEFAULT_RETRIES = 5
MAX_TIMEOUT_S = 3600.0
MAX_RETRIES = 20

# A later section overrides an earlier one.
_SECTIONS = ("global", "download", ":env:")
_LINE = re.compile(r"(?P<section>global|download|:env:)\.(?P<key>[a-z0-9-]+)=(?P<value>.*)")
_DEFAULT_INDEX = re.compile(r"--index-url <url>[^(]*\(default (?P<url>https?://[^\s()]+)\)")
_TRUE = frozenset({"1", "true", "yes", "y", "on", "t"})


class LeaveToPip(Exception):
    """pip must fetch this one. The message says why, for people; empty where that is no loss."""


@dataclass(frozen=True, slots=True)
class PipConfig:
    """indexes, find_links: URLs or paths, which may carry credentials. certificates: a file or folder of authorities.

    trusted_hosts: host or host:port that may be read without encryption. retries: after a failure without progress.
    """

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    proxy: str | None = None
    certificates: str | None = None
    trusted_hosts: frozenset[str] = frozenset()
    timeout_s: float = DEFAULT_TIMEOUT_S
    retries: int = DEFAULT_RETRIES


def read_pip_config() -> PipConfig:
    """Ask pip. Raises LeaveToPip (it cannot be asked, or only pip can do as it says), SourceError (there is no pip)."""
    exit_code, listing = run_pip("config", "list")
    if exit_code:
        raise LeaveToPip("pip's configuration cannot be read")
    options = _options(listing)
    if "client-cert" in options:
        raise LeaveToPip("the index asks for a client certificate")
    return PipConfig(
        indexes=_indexes(options),
        find_links=tuple(options.get("find-links", "").split()),
        proxy=options.get("proxy"),
        certificates=options.get("cert"),
        trusted_hosts=frozenset(options.get("trusted-host", "").split()),
        timeout_s=_number(options.get("timeout", options.get("default-timeout")), DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S),
        retries=int(_number(options.get("retries"), DEFAULT_RETRIES, MAX_RETRIES)),
    )


def _options(listing: str) -> Mapping[str, str]:
    """What holds for `pip download`: the environment before the command's own section before the global one."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        if (match := _LINE.fullmatch(line)) is None:
            continue
        try:
            value: object = ast.literal_eval(match["value"])
        except (ValueError, SyntaxError):
            raise LeaveToPip("pip's configuration cannot be read") from None
        # pip passes over empty values: they do not hide those of another section.
        if isinstance(value, str) and value.strip():
            found[match["section"]][match["key"]] = value.strip()
    return {key: value for section in _SECTIONS for key, value in found[section].items()}


def _indexes(options: Mapping[str, str]) -> tuple[str, ...]:
    if options.get("no-index", "").lower() in _TRUE:
        return ()
    return (options.get("index-url") or _default_index(), *options.get("extra-index-url", "").split())


def _default_index() -> str:
    """The index pip takes when none is configured, out of its own help: another build of pip may have another one."""
    exit_code, text = run_pip("download", "--help", COLUMNS="1000")
    match = _DEFAULT_INDEX.search(text)
    if exit_code or match is None:
        raise LeaveToPip("pip does not tell which index it takes")
    return match["url"]


def _number(text: str | None, default: float, maximum: float) -> float:
    try:
        value = float(text) if text is not None else default
    except ValueError:
        return default
    return min(value, maximum) if value >= 0 else default
