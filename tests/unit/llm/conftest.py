"""Facades to test with: the real tokenizer and template, on the backend that computes nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wayra.base.settings import Settings
from wayra.llm import LLM


@pytest.fixture(scope="session")
def llm_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def null_llm(smollm2_path: Path, llm_settings: Settings) -> Iterator[LLM]:
    with LLM(smollm2_path, settings=llm_settings, backend="null", context_len=512, max_batch=4) as llm:
        yield llm
