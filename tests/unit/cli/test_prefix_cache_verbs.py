"""`wayra info` and `wayra rm --prefix-cache` on a folder of computed prompts."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from wayra.base.settings import from_environment
from wayra.cli.info import info
from wayra.cli.rm import rm
from wayra.engine.prefix_store import PrefixStore
from wayra.llm.prefixes import max_prefix_bytes, prefix_root


def test_info_counts_the_computed_prompts_and_rm_deletes_them(tmp_path: Path) -> None:
    settings = from_environment({"WAYRA_CACHE": str(tmp_path), "WAYRA_PREFIX_DISK_MB": "7"})
    store = PrefixStore(prefix_root(settings), "model", 1000, 1 << 20)
    store.write([b"a" * 32, b"b" * 32], np.zeros((2, 1000), np.uint8))
    assert store.flush(10)
    store.close()
    shown = CliRunner().invoke(info, [], obj=settings).output
    assert f"{prefix_root(settings)}: 1 files, 6.1 kB of 7.3 MB" in shown
    done = CliRunner().invoke(rm, ["--prefix-cache"], obj=settings)
    assert (done.exit_code, done.output) == (0, "deleted the computed prompts (6.1 kB freed)\n")
    assert list(tmp_path.rglob("*.kv")) == []


@pytest.mark.parametrize("arguments", [[], ["name", "--prefix-cache"]])
def test_rm_wants_a_model_or_the_prefix_cache(arguments: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(rm, arguments, obj=from_environment({"WAYRA_CACHE": str(tmp_path)}))
    assert done.exit_code == 2
    assert "--prefix-cache" in done.output


def test_what_is_asked_for_goes_before_the_environment(tmp_path: Path) -> None:
    settings = from_environment({"WAYRA_CACHE": str(tmp_path), "WAYRA_PREFIX_DISK_MB": "7"})
    assert (max_prefix_bytes(settings, 0), max_prefix_bytes(settings)) == (0, 7 << 20)
