"""Random models built and run by transformers, the outside reference. Needs torch; only golden-making and parity do."""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from hf_cases import HfCase
from safetensors.torch import save_file


def build(case: HfCase, seed: int = 0) -> transformers.PreTrainedModel:
    """The case's model in float32, with weights that float16 holds exactly and large enough for uneven attention."""
    config_class = getattr(transformers, f"{case.architecture}Config")
    model_class = getattr(transformers, f"{case.architecture}ForCausalLM")
    config = config_class(**case.config())
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                value = 1 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.3 * noise
            else:
                value = noise * 1.5 / parameter.shape[-1] ** 0.5
            parameter.copy_(value.half().float())
    return model


def save(case: HfCase, model: transformers.PreTrainedModel, folder: Path) -> None:
    """Write config.json and model.safetensors (float16) as a checkpoint folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, object] = {"architectures": [type(model).__name__], **case.config()}
    config["model_type"] = model.config.model_type
    config["hidden_act"] = "silu"
    if case.old_rope:
        rope = dict(case.rope)
        config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tied = bool(case.extra.get("tie_word_embeddings", False))
    tensors = {
        name: value.half().contiguous()
        for name, value in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def prompt(case: HfCase, seed: int = 1) -> np.ndarray:
    """int32 [num_tokens]."""
    vocab_size = int(str(case.config()["vocab_size"]))
    return np.random.default_rng(seed).integers(0, vocab_size, case.num_tokens).astype(np.int32)


def logits(model: transformers.PreTrainedModel, token_ids: np.ndarray) -> np.ndarray:
    """float32 [tokens, vocab]."""
    with torch.no_grad():
        return model(torch.from_numpy(token_ids.astype(np.int64))[None]).logits[0].numpy().astype(np.float32)
