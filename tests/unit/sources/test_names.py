"""The grammar of model names."""

from pathlib import Path

import pytest

from wayra.base.errors import InvalidParameter, ModelNotFound
from wayra.base.settings import Settings
from wayra.weights.sources import ALIASES, DEFAULT_MODEL, short_name, understand
from wayra.weights.sources.aliases import KNOWN_WHEELS
from wayra.weights.sources.names import HubRef, WheelRef, parse_hub, parse_wheel


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Settings(tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta-llama/Llama-3.2-1B", HubRef("meta-llama/Llama-3.2-1B")),
        ("org/repo:q4_k_m", HubRef("org/repo", "Q4_K_M")),
        ("hf://org/repo", HubRef("org/repo")),
        ("hf://org/repo/", HubRef("org/repo")),
        ("hf://org/repo:Q8_0", HubRef("org/repo", "Q8_0")),
        ("hf://org/repo/deep/model-Q4_0.gguf", HubRef("org/repo", None, "deep/model-Q4_0.gguf")),
        ("org/repo/model.gguf", HubRef("org/repo", None, "model.gguf")),
        ("pypi:llm-x==0.1.2/a/b.gguf", WheelRef("llm-x", "0.1.2", "a/b.gguf")),
        ("LLAMA3.2:1B", HubRef("bartowski/Llama-3.2-1B-Instruct-GGUF", "Q4_K_M")),
        ("llama3.1:8b:q8_0", HubRef("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "Q8_0")),
        ("mistral", HubRef("bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Q4_K_M")),
        ("mistral:Q6_K", HubRef("bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Q6_K")),
    ],
)
def test_a_name_means(name: str, expected: object, settings: Settings) -> None:
    assert understand(name, settings) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "hf://",
        "hf://org",
        "hf://org/../../etc/passwd.gguf",
        "hf://org/repo/../x.gguf",
        "hf://org/repo/model.bin",
        "hf://org/repo:Q4 0",
        "pypi:",
        "pypi:x==1",
        "pypi:x==1/",
        "pypi:x==1/../y.gguf",
        "pypi:x==1//etc/y.gguf",
        "pypi:x==1/y.pkl",
        "pypi:--index-url=evil==1/y.gguf",
        "pypi:x==1 --extra/y.gguf",
        "x\0y",
        "a" * 5000,
    ],
)
def test_a_malformed_name_is_refused(name: str, settings: Settings) -> None:
    with pytest.raises(InvalidParameter):
        understand(name, settings)


def test_an_unknown_name_is_answered_with_near_ones(settings: Settings) -> None:
    with pytest.raises(ModelNotFound, match=r"did you mean smollm2"):
        understand("smolm2", settings)
    with pytest.raises(ModelNotFound, match=r"wayra ls --available"):
        understand("zzzzzz", settings)


def test_a_family_name_that_several_sizes_share_is_not_guessed(settings: Settings) -> None:
    with pytest.raises(ModelNotFound, match=r"llama3\.2:1b, llama3\.2:3b"):
        understand("llama3.2", settings)


def test_every_alias_has_a_sound_target_and_the_wheel_one_a_recorded_hash(settings: Settings) -> None:
    assert understand(DEFAULT_MODEL, settings) == parse_wheel(ALIASES[DEFAULT_MODEL].target)
    for alias in ALIASES.values():
        if alias.target.startswith("pypi:"):
            assert str(parse_wheel(alias.target)) == alias.target
            assert len(KNOWN_WHEELS[alias.target].inner_sha256) == 64
        else:
            assert str(parse_hub(alias.target)) == alias.target
    assert short_name(ALIASES["llama3.2:1b"].target) == "llama3.2:1b"
    assert short_name("org/other") == "org/other"


def test_an_existing_path_wins_over_the_hub_but_not_over_an_alias(settings: Settings) -> None:
    Path("org/repo").mkdir(parents=True)
    Path("org/repo/x.Q4_0.gguf").write_bytes(b"GGUF")
    Path("smollm2").mkdir()
    assert understand("org/repo", settings) == Path("org/repo/x.Q4_0.gguf")
    assert understand("org/repo/x.Q4_0.gguf", settings) == Path("org/repo/x.Q4_0.gguf")
    assert isinstance(understand("smollm2", settings), WheelRef)


def test_a_mistyped_path_is_answered_with_the_files_near_it(settings: Settings) -> None:
    Path("models/sub").mkdir(parents=True)
    Path("models/sub/llama-3.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFound, match=r"near it: llama-3\.gguf"):
        understand("models/sub/lama-3.gguf", settings)
    with pytest.raises(ModelNotFound, match=r"there is no file models/none\.gguf"):
        understand("models/none.gguf", settings)


def test_a_folder_is_a_model_when_it_holds_exactly_one(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for part in (1, 2):
        with pytest.raises(ModelNotFound, match="holds no model" if part == 1 else "no whole model; fetch all parts"):
            understand(str(folder), settings)
        (folder / f"a-0000{part}-of-00002.gguf").write_bytes(b"GGUF")
    assert understand(str(folder), settings) == folder / "a-00001-of-00002.gguf"
    (folder / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFound, match=r"several models: a-00001-of-00002\.gguf, b\.gguf"):
        understand(str(folder), settings)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    assert understand(str(folder), settings) == folder


def test_a_device_is_not_a_model(settings: Settings) -> None:
    with pytest.raises(ModelNotFound, match="neither a file nor a folder"):
        understand("/dev/null", settings)
