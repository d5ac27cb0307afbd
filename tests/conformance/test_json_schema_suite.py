"""The JSON Schema test-suite: what is compiled is enforced, the rest is refused with a typed error.

The suite (MIT) comes inside the source distribution of the `jsonschema` package, which pip fetches.
"""

import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from grammar_walks import takes_json
from text_samples import byte_level_metadata

from wayra.base.errors import InvalidParameter
from wayra.engine.grammar import GrammarCompiler
from wayra.text.from_gguf import tokenizer_from_gguf
from wayra.text.structure import JsonSchema

pytestmark = pytest.mark.slow

SDIST = "jsonschema==4.26.0"
TOKENIZER = tokenizer_from_gguf(byte_level_metadata("smollm"))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = subprocess.run([*command, "--no-binary=:all:", "-d", str(folder), SDIST], capture_output=True, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"pip could not fetch {SDIST}: {done.stderr.decode()[-200:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/json/tests"))


def cases(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every case of a draft, with its file; of the optional ones the formats only."""
    files = [*sorted(folder.glob("*.json")), *sorted(folder.glob("optional/format/*.json"))]
    return [(file.stem, case) for file in files for case in json.loads(file.read_text("utf-8"))]


@pytest.mark.parametrize(("draft", "least_compiled"), [("draft2020-12", 160), ("draft2019-09", 165), ("draft7", 155)])
def test_no_instance_that_a_schema_forbids_is_ever_allowed(suite: Path, draft: str, least_compiled: int) -> None:
    compiler = GrammarCompiler(TOKENIZER)
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    for name, case in cases(suite / draft):
        try:
            compiled = compiler.compile(JsonSchema(case["schema"]))
        except InvalidParameter:
            seen["refused"] += 1
            continue
        seen["compiled"] += 1
        for test in case["tests"]:
            taken = takes_json(compiled, TOKENIZER, test["data"])
            seen[f"valid {test['valid']}, taken {taken}"] += 1
            if taken and not test["valid"]:
                wrong.append(f"{name}: {case['description']}: {test['description']}")
    assert wrong == []
    assert seen["compiled"] >= least_compiled
    # Valid instances that are not taken have their keys in another order than the schema, or unusual spellings.
    assert seen["valid True, taken True"] > 10 * seen["valid True, taken False"]
