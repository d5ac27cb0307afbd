"""Whatever is typed as a model's name is understood or refused, never a crash."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wayra.base.errors import WayraError
from wayra.base.settings import Settings
from wayra.weights.sources import understand
from wayra.weights.sources.names import HubRef, WheelRef, parse_hub, parse_wheel

WORDS = "hf:// pypi: == / .. . ~ : - org Q4_0 1.0 .gguf é"
PIECES = st.sampled_from([*WORDS.split(" "), "\0", "\n", "\ud800", "\udc80", " ", "x" * 300])


@given(name=st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=10).map("".join)))
@example(name="~no-such-user/x.gguf")
@example(name="./")
@example(name=".gguf")
@example(name="//.gguf")
def test_any_name_is_understood_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    settings = Settings(tmp_path_factory.getbasetemp() / "no-cache")
    try:
        reference = understand(name, settings)
    except WayraError:
        return
    if isinstance(reference, HubRef):
        assert parse_hub(str(reference)) == reference
    elif isinstance(reference, WheelRef):
        assert parse_wheel(str(reference)) == reference
    else:
        assert isinstance(reference, Path)
        assert reference.exists()
