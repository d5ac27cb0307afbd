"""Rows of a data set's files: JSON lines, JSON, CSV or Parquet. A malformed row is named and passed over."""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from wayra.base.errors import DataError

MAX_FILE_BYTES = 4 * 1024**3
MAX_FIELD_CHARS = 64 * 1024**2
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
LIST_KEYS = ("rows", "data", "cases", "examples", "questions", "items", "test")

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Row:
    """where: file and line or number, for messages."""

    where: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that is not used. is_repeat: because an earlier one asks the same, not because it is unusable."""

    where: str
    what: str
    is_repeat: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def is_data_file(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def read_rows(path: Path, name: str | None = None, columns: Sequence[str] | None = None) -> Iterator[Row | Problem]:
    """Rows in the file's order. name: of the file in messages; None: its own.

    columns: the names of those of a CSV file whose first line is a row.

    Raises DataError when the file cannot be read at all.
    """
    shown = name or path.name
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        yield from _parquet_rows(path, shown)
        return
    content = _content(path)
    if kind in ("jsonl", "ndjson"):
        yield from _json_lines(content, shown)
    elif kind == "csv":
        yield from _csv_rows(content, shown, columns)
    elif kind == "json":
        yield from _json_rows(content, shown)
    else:
        raise DataError(f"{path} is no data file wayra reads; expected one of {', '.join(SUFFIXES)}")


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} has more than {MAX_FILE_BYTES:,} bytes; split it")
        if not path.name.lower().endswith(".gz"):
            return path.read_bytes().removeprefix(codecs.BOM_UTF8)
        with gzip.open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, gzip.zlib.error) as error:  # pyright: ignore[reportAttributeAccessIssue]
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read: {reason}") from error
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_FILE_BYTES:,} bytes; split it")
    return content.removeprefix(codecs.BOM_UTF8)


def _json_lines(content: bytes, name: str) -> Iterator[Row | Problem]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            yield Problem(where, f"is no JSON: {error}")
            continue
        yield _row(where, found)


def _json_rows(content: bytes, name: str) -> Iterator[Row | Problem]:
    try:
        found: object = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{name} is no JSON: {error}; write one object a line and call it .jsonl") from error
    if isinstance(found, dict):
        table = cast(dict[str, object], found)
        found = next((table[key] for key in LIST_KEYS if isinstance(table.get(key), list)), None)
        found = found or _from_columns(table)
        if found is None:
            # A file for each row.
            yield Row(name, table)
            return
    if not isinstance(found, list):
        raise DataError(f"{name} holds no list of rows; expected a JSON list of objects")
    for number, entry in enumerate(cast(list[object], found), start=1):
        yield _row(f"{name}, row {number}", entry)


def _from_columns(table: dict[str, object]) -> object:
    """pandas' way: {"question": {"0": ..., "1": ...}, ...}."""
    columns = {name: list(cast(dict[str, object], c).values()) for name, c in table.items() if isinstance(c, dict)}
    if not columns or len(columns) != len(table) or len({len(column) for column in columns.values()}) != 1:
        return None
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _csv_rows(content: bytes, name: str, columns: Sequence[str] | None) -> Iterator[Row | Problem]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text (byte {error.start:,}); convert it first") from error
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.DictReader(io.StringIO(text, newline=""), columns)
    try:
        for entry in reader:
            where = f"{name}, line {reader.line_num}"
            if None in entry or None in entry.values():
                yield Problem(where, f"has another number of fields than the header's {len(reader.fieldnames or ())}")
            else:
                yield Row(where, entry)
    except csv.Error as error:
        yield Problem(f"{name}, line {reader.line_num}", f"is no CSV: {error}")


def _parquet_rows(path: Path, name: str) -> Iterator[Row | Problem]:
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"{path} is Parquet, which needs pyarrow (pip install pyarrow); or convert it") from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except Exception as error:  # whatever pyarrow raises for a damaged file
        raise DataError(f"{path} cannot be read as Parquet: {error!s:.200}") from error
    for number, entry in enumerate(rows, start=1):
        yield _row(f"{name}, row {number}", entry)


def _row(where: str, found: object) -> Row | Problem:
    if not isinstance(found, dict):
        return Problem(where, f"is a {type(found).__name__}, expected an object with named fields")
    return Row(where, cast(dict[str, object], found))
