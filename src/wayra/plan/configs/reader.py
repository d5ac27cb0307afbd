"""A config.json as an `Architecture`: by its keys; what no key says, its family does; of an unknown one, Llama."""

from collections import Counter
from collections.abc import Mapping

from wayra.base.errors import FileFormatError, UnsupportedModel
from wayra.model.keys import Keys, shown
from wayra.model.spec import MAX_CONTEXT, MAX_VOCAB
from wayra.plan.architecture import Architecture, Experts
from wayra.plan.configs.attention import attention
from wayra.plan.configs.compressed import compressed_attention
from wayra.plan.configs.differing import attention_of
from wayra.plan.configs.encoder_decoder import PAIRS, encoder_decoder
from wayra.plan.configs.families import FAMILIES, LLAMA, Family
from wayra.plan.configs.feed_forward import biases_of, dense_layers, experts_of, ffn_size_of
from wayra.plan.configs.keys import count, size, text_part
from wayra.plan.configs.layers import BOTH, CONV, NOTHING, STATE, kinds_of
from wayra.plan.configs.particular import besides, prepared
from wayra.plan.configs.shape import Shape, heads_of, width_of
from wayra.plan.configs.shared_blocks import shared_attention
from wayra.plan.configs.states import convolution, states
from wayra.plan.configs.vision import encoder
from wayra.plan.images import image_encoder, image_layers
from wayra.plan.mixers import Mixer, distinct

_ENDINGS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ForImageTextToText", "ChatModel")
_PAIR = "ForConditionalGeneration"
# What an unknown family keeps is then no key and value a head and token, and no formula here says what.
_OTHER_MEMORIES = ("ssm", "mamba", "rwkv", "recurrent", "lru", "compress", "linear_attn", "state_size", "block_configs")


def from_config(config: Mapping[str, object], *, name: str, source: str) -> Architecture:
    """The description in a Hugging Face config; of several parts, the one for text with the encoder of images.

    Raises: UnsupportedModel on an architecture whose memory these formulas do not describe, FileFormatError.
    """
    outer = Keys(config, source)
    keys = text_part(outer)
    kind, seen = _named(outer, keys)
    if kind in PAIRS and _is_pair(outer, kind):
        return encoder_decoder(keys, kind, name=name, notes=_left_out(outer, keys))
    family = FAMILIES.get(kind)
    if family is not None:
        return _described(_shape(keys, kind, family), outer, name, [])
    _refuse_what_is_no_decoder(outer, keys, seen)
    note = (
        f"the planner does not know {shown(seen)}: it is sized as a model like Llama by the keys of its config, "
        "an assumption"
    )
    try:
        return _described(_shape(keys, "", LLAMA), outer, name, [note])
    except FileFormatError as error:
        raise UnsupportedModel(
            f"the planner does not know architecture {shown(seen)}, and cannot size it like Llama: {error}"
        ) from None


def _named(outer: Keys, keys: Keys) -> tuple[str, str]:
    """The family's name in the table, "" if it is not there; and how the file calls it."""
    names = list(outer.texts("architectures") or ())
    types = [one for one in (outer.text("model_type", ""),) if one]
    if keys.source != outer.source:
        inner = [keys.text("model_type", ""), *(keys.texts("architectures") or ())]
        names = [*(one for one in inner if one), *names]
    if not names and not types:
        raise FileFormatError(
            f"{outer.source} names no architecture; expected architectures, or model_type, as a config.json has them"
        )
    for one in (*names, *types):
        plain = _plain(one)
        if plain in FAMILIES or plain in PAIRS:
            return plain, one
    return "", (outer.texts("architectures") or names or types)[0]


def _is_pair(outer: Keys, kind: str) -> bool:
    """Whether this is an encoder with its decoder, and not one of them alone."""
    names = outer.texts("architectures")
    if not names:
        return outer.get("is_encoder_decoder") is True
    return all(name == "MarianMTModel" or (name.endswith(_PAIR) and _plain(name) == kind) for name in names)


def _plain(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return "".join(letter for letter in name.lower() if letter.isalnum()).removesuffix("text")


def _refuse_what_is_no_decoder(outer: Keys, keys: Keys, seen: str) -> None:
    names = outer.texts("architectures") or ()
    writes = not names or any(name.endswith(_ENDINGS) for name in names)
    if keys.get("is_encoder_decoder") is True or outer.get("is_encoder_decoder") is True or not writes:
        raise UnsupportedModel(
            f"the planner cannot size architecture {shown(seen)}: it is no model that reads and writes with one decoder"
        )
    other = (key for key in keys.values if any(part in key.lower() for part in _OTHER_MEMORIES))
    for key in other:
        if keys.get(key) not in (None, 0, False, []) and keys.get("layer_types") is None:
            raise UnsupportedModel(
                f"the planner cannot size architecture {shown(seen)}: {shown(key)} changes what it remembers"
            )


def _shape(keys: Keys, kind: str, family: Family) -> Shape:
    keys, family = prepared(keys, kind, family)
    kinds = kinds_of(keys, family)
    hidden_size = width_of(keys)
    heads, kv_heads, head_dim = (1, 1, 1) if family.no_feed_forward else heads_of(keys, hidden_size)
    return Shape(keys, kind, family, kinds, hidden_size, heads, kv_heads, head_dim)


def _described(shape: Shape, outer: Keys, name: str, notes: list[str]) -> Architecture:
    keys, family, source = shape.keys, shape.family, outer.source
    context_len, unsaid = _context(keys)
    image_count, image_tokens = image_layers(keys, outer) if shape.kind == "mllama" else (0, 0)
    seen, unseen = _encoder(outer, shape)
    experts = experts_of(shape)
    dense, ffn_size = dense_layers(shape, experts), ffn_size_of(shape, experts)
    more = besides(shape, experts, ffn_size)
    around = _norms(shape) + biases_of(shape, experts, dense, ffn_size) + _head_bias(shape)
    positions = context_len + family.positions if family.positions >= 0 else 0
    return Architecture(
        name=name,
        title=name,
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        ffn_size=ffn_size,
        vocab_size=size(keys, "vocab_size", most=MAX_VOCAB),
        context_len=context_len,
        tied=keys.flag("tie_word_embeddings", family.tied),
        mlp_matrices=family.matrices,
        experts=experts,
        image_layers=image_count,
        image_tokens=image_tokens,
        image_parameters=seen,
        mixers=_mixers(shape, image_count, image_tokens),
        dense_layers=dense,
        other_linear=_latent_experts(shape, experts) + more.linear,
        repeated=more.repeated,
        around=around + more.small,
        lookups=positions * shape.hidden_size + more.lookups,
        source=source,
        note="; ".join([*notes, *unsaid, *unseen, *_left_out(outer, keys)]),
    )


def _mixers(shape: Shape, image_count: int, image_tokens: int) -> tuple[Mixer, ...]:
    if shape.kind in ("decilm", "nemotronnas"):
        return attention_of(shape.keys)
    if shape.kind == "deepseekv4":
        return compressed_attention(shape)
    if shape.kind in ("zamba", "zamba2"):
        made = states(shape, shape.num_layers), shared_attention(shape)
        return tuple(mixer for mixer in made if mixer.layers)
    found: list[Mixer] = []
    for kind, layers in Counter(shape.kinds).items():
        if kind == NOTHING:
            continue
        if kind == CONV:
            found.append(convolution(shape, layers))
            continue
        if kind in (STATE, BOTH):
            found.append(states(shape, layers))
        if kind != STATE:
            found += attention(shape, "full" if kind == BOTH else kind, layers, image_count, image_tokens)
    return distinct(found)


def _norms(shape: Shape) -> int:
    family = shape.family
    return (shape.num_layers * family.norms + family.final) * family.norm_terms * shape.hidden_size


def _head_bias(shape: Shape) -> int:
    has_bias = shape.family.head_bias or shape.keys.flag("lm_head_bias", False)
    return count(shape.keys, "vocab_size", most=MAX_VOCAB) if has_bias else 0


def _latent_experts(shape: Shape, experts: Experts | None) -> int:
    """Into and out of the width that experts work in, where it is not the model's."""
    return 2 * experts.layers * experts.width * shape.hidden_size if experts else 0


def _context(keys: Keys) -> tuple[int, list[str]]:
    """The context a model was made for. No memory depends on it, so that a file may leave it out."""
    name = "max_position_embeddings"
    if keys.get(name) is not None:
        return keys.integer(name), []
    return MAX_CONTEXT, [f"{keys.source} does not say for how long a context it was made ({name}), so none is too long"]


def _encoder(outer: Keys, shape: Shape) -> tuple[int, list[str]]:
    """Parameters of the encoder of images, and what of encoders is not counted."""
    if shape.kind == "mllama":
        return image_encoder(outer, shape.hidden_size), []
    names = (*(outer.texts("architectures") or ()), outer.text("model_type", ""))
    found, told = 0, ""
    for name in names:
        found, told = encoder(outer, _plain(name), shape.hidden_size)
        if found:
            break
    notes = [told] if told else []
    if found:
        notes.append("speed is that of text: what reading an image takes is not in the times")
    if outer.get("audio_config") is not None:
        notes.append("its encoder of sound is not counted")
    return found, notes


def _left_out(outer: Keys, keys: Keys) -> list[str]:
    """What the numbers leave out."""
    found: list[str] = []
    if ahead := count(keys, "num_nextn_predict_layers", 0, most=1024):
        found.append(
            f"{ahead} more layer{'s' if ahead > 1 else ''} that guess{'' if ahead > 1 else 'es'} tokens ahead may be "
            "in the checkpoint; engines run without, and they are not counted"
        )
    if (quantised := outer.table("quantization_config") or keys.table("quantization_config")) is not None:
        method = shown(quantised.get("quant_method", "of an unnamed kind"))
        found.append(f"the checkpoint is quantised ({method}); --format says how its weights are counted")
    return found
