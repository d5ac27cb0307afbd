"""The planner's count of parameters beside transformers' own, for every architecture whose config.json it reads."""

import pytest
import torch
import transformers

from wayra.plan.memory import Request, kv_bytes
from wayra.plan.reading import from_config

NAMES = [
    "Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "Qwen3Moe", "Qwen2Moe", "GptOss", "Gemma", "Gemma2", "Cohere",
    "Starcoder2", "Phi3", "Granite", "Olmo", "Olmo2", "SmolLM3", "GPTNeoX", "GPTJ",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_model_that_the_config_makes(name: str) -> None:
    config = getattr(transformers, f"{name}Config")()
    with torch.device("meta"):
        made = getattr(transformers, f"{name}ForCausalLM")(config)
    expected = sum(weight.numel() for weight in made.parameters())
    found = from_config({**config.to_dict(), "architectures": [f"{name}ForCausalLM"]}, name=name, source="config.json")
    # Biases of projections and second norms are not counted one by one.
    assert found.parameters == pytest.approx(expected, rel=0.002)
    assert kv_bytes(found, Request(1, 1)).value > 0


def test_parameters_of_a_model_that_sees_are_exact_but_for_its_gates() -> None:
    config = transformers.MllamaConfig(vision_config={"image_size": 560})
    with torch.device("meta"):
        made = transformers.MllamaForConditionalGeneration(config)
    expected = sum(weight.numel() for weight in made.parameters())
    found = from_config(
        {**config.to_dict(), "architectures": ["MllamaForConditionalGeneration"]}, name="x", source="config.json"
    )
    assert found.parameters == pytest.approx(expected, rel=1e-5)
