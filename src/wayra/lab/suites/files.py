"""Which of the files below a path belong to which split, by the names data sets give them."""

import re
from collections.abc import Sequence
from pathlib import Path

from wayra.base.errors import DataError
from wayra.lab.suites.rows import is_data_file

MAX_FILES = 20_000
"""MATH as its authors give it has 12,500, one for each problem."""
KNOWN_SPLITS = ("train", "validation", "val", "valid", "dev", "test", "auxiliary_train")


def data_files(path: Path) -> list[Path]:
    """The file itself, or every data file below the folder, sorted. Raises DataError when there is none."""
    if path.is_file():
        return [path]
    if not path.exists():
        raise DataError(f"{path} does not exist; give a data file or a folder of them")
    found = sorted(entry for entry in path.rglob("*") if entry.is_file() and is_data_file(entry))
    if not found:
        raise DataError(f"{path} holds no data files; expected .jsonl, .json, .csv or .parquet")
    if len(found) > MAX_FILES:
        raise DataError(f"{path} holds {len(found):,} data files; give the folder of one data set")
    return found


def part_of(path: Path, folder: str) -> Path:
    """Below path the folder of that name, the first found; path itself where there is none.

    Repositories hold several data sets side by side (ARC-Easy and ARC-Challenge, main and socratic): all of them
    together would be asked as one.
    """
    if not folder or not path.is_dir():
        return path
    found = (entry for entry in (path / folder, *sorted(path.rglob(folder))) if entry.is_dir())
    return next((entry for entry in found if any(map(is_data_file, entry.rglob("*")))), path)


def of_splits(files: Sequence[Path], root: Path, splits: Sequence[str]) -> list[Path]:
    """The files of the first of the splits that has any."""
    for split in splits:
        found = [file for file in files if split in names_of(file, root)]
        if found:
            return found
    return []


def without_split(files: Sequence[Path], root: Path) -> list[Path]:
    """Files whose names say no split."""
    return [file for file in files if not names_of(file, root) & set(KNOWN_SPLITS)]


def names_of(file: Path, root: Path) -> set[str]:
    """Words of the path below root: `all/test-00000-of-00001.parquet` -> all, test, 00000, ...; `test2` is test too."""
    relative = file.relative_to(root) if file != root else Path(file.name)
    text = "/".join(relative.parts).lower()
    words = set(re.split(r"[^a-z0-9]+", text)) | {word for word in KNOWN_SPLITS if f"/{word}/" in f"/{text}"}
    return words | {word.rstrip("0123456789") for word in words} & set(KNOWN_SPLITS)
