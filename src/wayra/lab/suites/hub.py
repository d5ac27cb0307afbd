"""Fetches a data set from the hub into the cache; where there is no hub, says what to do instead."""

from pathlib import Path

from wayra.base.errors import DataError
from wayra.base.settings import Settings
from wayra.lab.suites.api import Suite

DATA_PATTERNS = ("*.parquet", "*.jsonl", "*.json", "*.csv", "*.jsonl.gz")


def fetch_from_hub(suite: Suite, settings: Settings) -> Path:
    """The folder with the suite's files. Raises DataError."""
    if suite.hub is None:
        raise DataError(f"suite {suite.name} is not on the hub; give a file or folder with --data")
    instead = f"download {suite.hub.repo} elsewhere and give its files with --data"
    if settings.hub_offline:
        raise DataError(f"suite {suite.name} needs the hub, and HF_HUB_OFFLINE forbids it: {instead}")
    from huggingface_hub import snapshot_download

    folder = suite.hub.folder
    patterns = [f"{folder}/{pattern}" if folder else pattern for pattern in DATA_PATTERNS]
    try:
        root = snapshot_download(
            suite.hub.repo,
            repo_type="dataset",
            allow_patterns=patterns,
            cache_dir=settings.cache_dir / "datasets",
            etag_timeout=10,
        )
    except Exception as error:  # the client's own, the transport's and the system's errors share no base
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise DataError(f"suite {suite.name} could not be fetched from the hub ({why}): {instead}") from error
    path = Path(root)
    return path / folder if folder and (path / folder).is_dir() else path
