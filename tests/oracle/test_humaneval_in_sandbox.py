"""HumanEval's own solutions in the sandbox: 164 of 164 pass; needs wayra[oracle] (-m oracle)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from wayra.base.settings import from_environment
from wayra.lab.items import Item
from wayra.lab.sandbox import sandbox_available
from wayra.lab.scoring.execution import executions, run_in_sandbox
from wayra.lab.suites.load import load_suite
from wayra.lab.suites.registry import find_suite

pytestmark = pytest.mark.oracle
AVAILABLE = sandbox_available()


def _why_not(item: Item, body: str) -> str:
    """Empty when it passes its tests."""
    strict = executions(body, item.prompt, item.data, run_in_sandbox)[0]
    return "" if strict.value == 1.0 else strict.why


@pytest.mark.skipif(not AVAILABLE.is_available, reason=f"no sandbox here: {AVAILABLE.reason}")
def test_all_reference_solutions_of_humaneval_pass_and_empty_ones_fail() -> None:
    items = load_suite(find_suite("humaneval"), from_environment({})).items
    assert len(items) == 164
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda item: _why_not(item, str(item.data["reference"])), items))
        empty = list(pool.map(lambda item: _why_not(item, "    return None\n"), items[:12]))
    assert [(item.id, why) for item, why in zip(items, found, strict=True) if why] == []
    assert all(empty)
