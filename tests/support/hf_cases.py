"""Tiny models of every family, as keyword arguments of transformers' configurations: the golden and parity cases.

Pure data: importing this needs neither torch nor transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HfCase:
    """One model. architecture: "Llama", "Mistral" or "Qwen2". old_rope: write rope_theta and rope_scaling apart."""

    name: str
    architecture: str
    rope: Mapping[str, object]
    extra: Mapping[str, object] = field(default_factory=dict)
    num_tokens: int = 70
    old_rope: bool = False

    def config(self) -> dict[str, object]:
        """Keyword arguments for the configuration class; small odd sizes unless `extra` says otherwise."""
        sizes: dict[str, object] = {
            "vocab_size": 61,
            "hidden_size": 36,
            "intermediate_size": 44,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "max_position_embeddings": 128,
            "rms_norm_eps": 1e-5,
        }
        return {**sizes, **self.extra, "rope_parameters": dict(self.rope)}


PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}

CASES: tuple[HfCase, ...] = (
    HfCase("llama2", "Llama", PLAIN, {"num_key_value_heads": 3}),
    HfCase("llama3_1", "Llama", LLAMA3, {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10}),
    HfCase("llama3_2_tied_old_rope", "Llama", LLAMA3, {"tie_word_embeddings": True}, old_rope=True),
    HfCase("smollm2", "Llama", {**PLAIN, "rope_theta": 100000.0}, {"tie_word_embeddings": True}),
    HfCase("llama_biases", "Llama", PLAIN, {"attention_bias": True, "mlp_bias": True}),
    HfCase("llama_linear_old_rope", "Llama", LINEAR, {"num_attention_heads": 4, "head_dim": 6}, old_rope=True),
    HfCase("llama_yarn", "Llama", YARN),
    HfCase("llama_yarn_mscale", "Llama", {**YARN, "mscale": 1.3, "mscale_all_dim": 0.7, "beta_fast": 12.0}),
    HfCase("llama_yarn_untruncated", "Llama", {**YARN, "truncate": False, "attention_factor": 1.25, "beta_slow": 0.5}),
    HfCase("mistral_window", "Mistral", PLAIN, {"sliding_window": 9}),
    HfCase("mistral_full", "Mistral", {**PLAIN, "rope_theta": 1e6}, {"sliding_window": None, "head_dim": 8}),
    HfCase("qwen2", "Qwen2", {**PLAIN, "rope_theta": 1e6}, {"num_attention_heads": 6, "hidden_size": 48}),
    HfCase(
        "qwen2_5_window_tied",
        "Qwen2",
        PLAIN,
        {
            "num_hidden_layers": 3,
            "use_sliding_window": True,
            "sliding_window": 7,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
        },
    ),
    HfCase("qwen2_yarn_old_rope", "Qwen2", YARN, {"num_attention_heads": 2, "head_dim": 14}, old_rope=True),
)
