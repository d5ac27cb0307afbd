"""What transformers takes where the text part of a config leaves a size out, as those of Gemma 3 and LLaVA do."""

from collections.abc import Mapping
from types import MappingProxyType

TEXT_DEFAULTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "llama": {
            "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008,
            "vocab_size": 32000, "max_position_embeddings": 2048,
        },
        "mistral": {
            "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
            "intermediate_size": 14336, "vocab_size": 32000, "max_position_embeddings": 131072,
        },
        "qwen2": {
            "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
            "intermediate_size": 22016, "vocab_size": 151936, "max_position_embeddings": 32768,
        },
        "gemma": {
            "hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16,
            "head_dim": 256, "intermediate_size": 24576, "vocab_size": 256000, "max_position_embeddings": 8192,
        },
        "gemma2": {
            "hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
            "head_dim": 256, "intermediate_size": 9216, "vocab_size": 256000, "sliding_window": 4096,
            "max_position_embeddings": 8192,
        },
        "gemma3_text": {
            "hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
            "head_dim": 256, "intermediate_size": 9216, "vocab_size": 262208, "sliding_window": 4096,
            "max_position_embeddings": 131072,
        },
        "gemma4_text": {
            "hidden_size": 2304, "num_hidden_layers": 30, "num_attention_heads": 8, "num_key_value_heads": 4,
            "head_dim": 256, "global_head_dim": 512, "intermediate_size": 9216, "vocab_size": 262144,
            "sliding_window": 512, "max_position_embeddings": 131072,
        },
    }
)  # fmt: skip
