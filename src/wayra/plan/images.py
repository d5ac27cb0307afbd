"""Models that see: what an encoder of images weighs, and what the text layers that attend to an image keep of it."""

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys

MAX_SIZE = 1 << 20
CHANNELS = 3


def image_layers(text: Keys, outer: Keys) -> tuple[int, int]:
    """How many layers attend to an image, and the tokens of one of the largest size. Raises FileFormatError."""
    layers = text.get("cross_attention_layers")
    if not isinstance(layers, list) or not all(isinstance(layer, int) for layer in layers):
        raise FileFormatError(f"{text.source}: cross_attention_layers must be a list of layers")
    vision = _vision(outer)
    return len(layers), _size(vision, "max_num_tiles") * _tokens_of_a_tile(vision)


def image_encoder(outer: Keys, hidden_size: int) -> int:
    """Parameters of Llama 3.2's encoder of images and of its projection to the text. Raises FileFormatError."""
    vision = _vision(outer)
    width, ffn, tiles = _size(vision, "hidden_size"), _size(vision, "intermediate_size"), _size(vision, "max_num_tiles")
    every, gated = _size(vision, "num_hidden_layers"), _size(vision, "num_global_layers")
    ratios = vision.get("supported_aspect_ratios")
    # One more than there are: index 0 is padding.
    shapes = 1 + (len(ratios) if isinstance(ratios, list) else 8)
    patches = CHANNELS * _size(vision, "patch_size") ** 2 * width
    tokens = _tokens_of_a_tile(vision)
    positions = (1 + shapes * tiles) * tokens * width + 1
    around = 2 * (shapes * tiles * width + 1) + 2 * 2 * width
    layer = 4 * width * width + 2 * width * ffn + ffn + width + 2 * 2 * width
    encoder = patches + width + positions + around + (every + gated) * layer + 2 * gated
    projection = _size(vision, "vision_output_dim") * hidden_size + hidden_size
    return encoder + projection


def _tokens_of_a_tile(vision: Keys) -> int:
    """Its patches, and one that stands for all of it."""
    return (_size(vision, "image_size") // _size(vision, "patch_size")) ** 2 + 1


def _vision(outer: Keys) -> Keys:
    found = outer.table("vision_config")
    if found is None:
        raise FileFormatError(f"{outer.source} lacks vision_config; a model that sees needs it to be sized")
    return Keys(found, f"{outer.source}, vision_config")


def _size(keys: Keys, name: str) -> int:
    value = keys.integer(name)
    if not 1 <= value <= MAX_SIZE:
        raise FileFormatError(f"{keys.source}: {name} is {value}; expected 1 to {MAX_SIZE:,}")
    return value
