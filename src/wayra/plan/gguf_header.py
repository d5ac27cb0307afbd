"""GGUF files of models that this engine does not run, sized by their header: shapes, formats and bytes of tensors."""

from collections.abc import Mapping

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.plan.models import Architecture, Experts
from wayra.plan.stored import Stored, TensorBytes, as_stored
from wayra.weights.tensors import Checkpoint

TABLES = ("token_embd.weight", "output.weight")
# What a layer keeps then is no key and value a head and token.
OTHER_MEMORIES = (".ssm.", ".kv_lora_rank", ".wkv.", ".shortconv.")


def sized_by_header(checkpoint: Checkpoint, name: str, source: str) -> tuple[Architecture, Stored]:
    """The model and how its weights are stored; bytes of weights are the file's own.

    Raises: UnsupportedModel where the cache is of another kind than keys and values, FileFormatError.
    """
    keys = Keys(checkpoint.metadata, source)
    kind = keys.text("general.architecture")
    if other := next((key for key in checkpoint.metadata for part in OTHER_MEMORIES if part in key), None):
        raise UnsupportedModel(f"the planner cannot size architecture {shown(kind)}: {other} changes what it remembers")
    model = _shape(checkpoint.shapes, keys, kind, name)
    tables = linear = small = 0
    for tensor, shape in checkpoint.shapes.items():
        size = checkpoint.tensors[tensor].data.nbytes
        if tensor in TABLES:
            tables += size
        elif len(shape) > 1:
            linear += size
        else:
            small += size
    quantised = any(checkpoint.tensors[tensor].fmt.is_quantised for tensor in checkpoint.shapes)
    return model, as_stored(model, TensorBytes(linear, tables, small), quantised=quantised, source=source)


def _shape(shapes: Mapping[str, tuple[int, ...]], keys: Keys, kind: str, name: str) -> Architecture:
    if (table := shapes.get(TABLES[0])) is None or len(table) != 2:
        raise FileFormatError(f"{keys.source} has no table {TABLES[0]}; expected the file of a whole language model")
    hidden_size, num_heads = keys.integer(f"{kind}.embedding_length"), keys.integer(f"{kind}.attention.head_count")
    if num_heads < 1:
        raise FileFormatError(f"{keys.source}: {num_heads} heads; expected at least one")
    notes = [f"this engine does not run {kind}; sized by the tensors of its file"]
    if keys.get(f"{kind}.attention.sliding_window") is not None:
        notes.append("which layers have its window is not in the file, so all are counted with the whole context")
    num_layers = keys.integer(f"{kind}.block_count")
    return Architecture(
        name=name,
        title=name,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=keys.integer(f"{kind}.attention.head_count_kv", num_heads),
        head_dim=keys.integer(f"{kind}.attention.key_length", hidden_size // num_heads),
        ffn_size=keys.integer(f"{kind}.feed_forward_length", keys.integer(f"{kind}.expert_feed_forward_length", 1)),
        vocab_size=table[0],
        context_len=keys.integer(f"{kind}.context_length"),
        tied=TABLES[1] not in shapes,
        mlp_matrices=3 if any(".ffn_gate" in tensor for tensor in shapes) else 2,
        experts=_experts(shapes, keys, kind, num_layers),
        source=keys.source,
        note="; ".join(notes),
    )


def _experts(shapes: Mapping[str, tuple[int, ...]], keys: Keys, kind: str, num_layers: int) -> Experts | None:
    count = keys.integer(f"{kind}.expert_count", 0)
    if not count:
        return None
    routers = sum(tensor.endswith(".ffn_gate_inp.weight") for tensor in shapes)
    return Experts(
        layers=routers or num_layers,
        count=count,
        used=keys.integer(f"{kind}.expert_used_count"),
        ffn_size=keys.integer(f"{kind}.expert_feed_forward_length", keys.integer(f"{kind}.feed_forward_length", 1)),
        shared_ffn_size=keys.integer(f"{kind}.expert_shared_feed_forward_length", 0),
    )
