"""GGUF metadata arrays that stay in the mapped file until someone reads them.

A vocabulary has a hundred thousand strings; a start that uses a cached tokenizer must not pay for decoding them. The
span of each array is checked by the parser before one of these is made.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_LENGTH = Struct("<Q")


class StringArray(Sequence[str]):
    """An array of strings, decoded all at once on first access and kept.

    Bytes that are not valid UTF-8 become lone surrogates (`surrogateescape`), so `text.encode("utf-8",
    "surrogateescape")` gives back the stored bytes.
    """

    __slots__ = ("_count", "_decoded", "_span")

    def __init__(self, span: NDArray[np.uint8], count: int) -> None:
        """span: exactly the `count` length-prefixed strings, already checked."""
        self._span = span
        self._count = count
        self._decoded: list[str] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._strings()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._strings())

    def __repr__(self) -> str:
        return f"<{self._count} strings>"

    def raw(self) -> NDArray[np.uint8]:
        """The stored bytes, lengths included: what to hash when a cache depends on this array."""
        return self._span

    def _strings(self) -> list[str]:
        if self._decoded is None:
            stored = self._span.data
            length_at = _LENGTH.unpack_from
            strings: list[str] = []
            start = 0
            for _ in range(self._count):
                end = start + 8 + length_at(stored, start)[0]
                strings.append(str(stored[start + 8 : end], "utf-8", "surrogateescape"))
                start = end
            self._decoded = strings
        return self._decoded


class NumberArray(Sequence[Any]):
    """An array of integers, floats or booleans: a view of the file; items are Python numbers.

    values: the view itself, little-endian, possibly unaligned.
    """

    __slots__ = ("values",)

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return int(self.values.size)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.values[index].tolist()

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self.values.size, 65536):
            yield from self.values[start : start + 65536].tolist()

    def __repr__(self) -> str:
        return f"<{self.values.size} numbers of type {self.values.dtype.name}>"

    def raw(self) -> NDArray[np.uint8]:
        """The stored bytes: what to hash when a cache depends on this array."""
        return np.ascontiguousarray(self.values).view(np.uint8)
