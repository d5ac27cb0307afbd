"""The keys of a config.json under one name each, whatever a family calls them, and numbers held within bounds."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import cast

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys, shown
from wayra.plan.configs.defaults import TEXT_DEFAULTS

MAX_SIZE = 1 << 24
_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hidden_size": ("n_embd", "d_model", "dim"),
        "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
        "num_attention_heads": ("n_head", "n_heads", "num_heads"),
        "num_key_value_heads": ("num_kv_heads", "n_head_kv", "kv_n_heads", "multi_query_group_num"),
        "head_dim": ("kv_channels", "attention_head_dim"),
        "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size", "feed_forward_length", "block_ff_dim"),
        "max_position_embeddings": (
            "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length",
            "context_length",
        ),
        "vocab_size": ("padded_vocab_size", "n_vocab"),
        "tie_word_embeddings": ("tie_embedding",),
        "attention_bias": ("use_qkv_bias", "qkv_bias", "add_qkv_bias"),
        "num_experts": (
            "n_routed_experts", "num_local_experts", "moe_num_experts", "num_routed_experts", "moe_num_primary_experts",
        ),
        "num_experts_per_tok": (
            "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts", "moe_top_k", "num_selected_experts",
        ),
        "moe_intermediate_size": ("expert_intermediate_size", "moe_ffn_hidden_size", "expert_ffn_hidden_size"),
        "n_shared_experts": ("num_shared_experts", "num_shared_expert", "moe_num_shared_experts"),
        "shared_expert_intermediate_size": (
            "moe_shared_expert_intermediate_size", "share_expert_dim", "shared_intermediate_size",
        ),
        "moe_latent_size": ("routed_expert_hidden_size",),
        "num_nextn_predict_layers": ("mtp_num_hidden_layers", "num_mtp_modules"),
    }
)  # fmt: skip
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")


def text_part(outer: Keys) -> Keys:
    """Of a config of several parts, the one for text, with one name for each key."""
    keys = outer
    for part in _TEXT_PARTS * 2:
        table = keys.table(part)
        if table is not None:
            keys = Keys(table, f"{outer.source}, {part}")
    values = dict(keys.values)
    for flat in ("attn_config", "ffn_config"):
        values = {**values, **_flat(keys, flat)}
    for name, others in _NAMES.items():
        if values.get(name) is None:
            found = (values[other] for other in others if values.get(other) is not None)
            values[name] = next(found, None)
    if keys is not outer:
        for name, value in TEXT_DEFAULTS.get(keys.text("model_type", ""), {}).items():
            values[name] = value if values.get(name) is None else values[name]
    # Of a file of several parts, what the whole says counts.
    if outer.get("tie_word_embeddings") is not None:
        values["tie_word_embeddings"] = outer.get("tie_word_embeddings")
    return Keys(values, keys.source)


def _flat(keys: Keys, part: str) -> Mapping[str, object]:
    """DBRX and MPT write attention and feed-forward apart."""
    return keys.table(part) or {}


def size(keys: Keys, name: str, default: int | None = None, *, most: int = MAX_SIZE) -> int:
    """A number of at least one. Of a list with a number for each layer, all the same, that number.

    Raises: FileFormatError on what is missing, no number, or out of bounds.
    """
    return count(keys, name, default, least=1, most=most)


def count(keys: Keys, name: str, default: int | None = None, *, least: int = 0, most: int = MAX_SIZE) -> int:
    """The same, of at least `least`."""
    listed = keys.get(name)
    if isinstance(listed, list) and listed:
        values = cast(Sequence[object], listed)
        if any(value != values[0] for value in values):
            raise FileFormatError(
                f"{keys.source}: {name} differs from layer to layer, which the planner cannot size; "
                "give a GGUF file, which it sizes by its tensors"
            )
        keys = Keys({name: values[0]}, keys.source)
    value = keys.integer(name, default)
    if not least <= value <= most:
        raise FileFormatError(f"{keys.source}: {name} is {shown(value)}; expected {least:,} to {most:,}")
    return value


def integers(keys: Keys, name: str) -> tuple[int, ...] | None:
    """A list of whole numbers (true counts as one), None where there is none. Raises FileFormatError on another."""
    value = keys.get(name)
    if value is None:
        return None
    items = cast(Sequence[object], value) if isinstance(value, list) else [None]
    found = tuple(int(item) for item in items if isinstance(item, int))
    if len(found) != len(items):
        raise FileFormatError(f"{keys.source}: {name} is {shown(value)}; expected a list of whole numbers")
    return found
