"""Model files mapped read-only into memory, and the cheap identity that keys caches built from them."""

import hashlib
import mmap
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wayra.base.errors import FileFormatError, ModelNotFound


class MappedFile:
    """A regular file mapped read-only.

    path: as given. real_path: with symbolic links resolved. size: bytes. mtime_ns: when it was last written.
    data: uint8 [size], read-only view of the mapping.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelNotFound when the file cannot be read, FileFormatError when it is empty."""
        self.path = path
        try:
            # O_NONBLOCK: opening a named pipe must not wait for a writer.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            raise ModelNotFound(f"{path} does not exist; check the path") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelNotFound(f"{path} cannot be opened: {reason}; check the path and its permissions") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ModelNotFound(f"{path} is not a regular file; give the path of a model file")
            if status.st_size == 0:
                raise FileFormatError(f"{path} is empty; fetch it again")
            self._map = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ModelNotFound(f"{path} cannot be mapped into memory: {error}") from None
        finally:
            os.close(descriptor)
        self.real_path = Path(os.path.realpath(path))
        self.size = status.st_size
        self.mtime_ns = status.st_mtime_ns
        self.data: NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)

    def close(self) -> None:
        """Drop our hold on the mapping; arrays already handed out keep it alive until they go."""
        self.data = np.empty(0, dtype=np.uint8)
        try:
            self._map.close()
        except BufferError:
            return


def identity_digest(files: Sequence[MappedFile], headers: Sequence[bytes | memoryview]) -> str:
    """64 hex digits over the resolved path, size, time of writing and header of each file.

    Cheap: the tensors are not read, so it tells a file that was replaced or rewritten, not one tampered with in place
    by someone who also restores its time.
    """
    sha = hashlib.sha256()
    for file, header in zip(files, headers, strict=True):
        name = os.fsencode(file.real_path)
        sha.update(b"%d:%s;%d;%d;%d;" % (len(name), name, file.size, file.mtime_ns, len(header)))
        sha.update(header)
    return sha.hexdigest()
