"""Which quantisations of a Hugging Face checkpoint are followed: compressed-tensors' int8 with a scale a row, W8A8.

Source: the `quantization_config` that llm-compressor writes into config.json.
"""

from collections.abc import Mapping
from typing import cast

from wayra.base.errors import UnsupportedModel
from wayra.model.keys import shown

_FOLLOWED = "compressed-tensors with int8 weights, symmetric, one scale a row (W8A8 or W8A16)"


def check_quantization(stated: object, source: str) -> None:
    """stated: the value of `quantization_config`. Raises UnsupportedModel unless it is absent, empty or followed.

    How activations are to be rounded is not followed to the letter: in groups of 32 instead of whole rows, which is
    finer.
    """
    if stated is None:
        return
    if not isinstance(stated, dict):
        raise _refusal(source, f"quantization_config is {shown(stated)}")
    config = cast("Mapping[str, object]", stated)
    if not config:
        return
    _require(source, config, "quant_method", ("compressed-tensors",))
    _require(source, config, "format", (None, "int-quantized", "naive-quantized"))
    _require(source, config, "kv_cache_scheme", (None, {}))
    _require(source, config, "sparsity_config", (None, {}))
    _require(source, config, "transform_config", (None, {}))
    for group in _table(source, config, "config_groups").values():
        if not isinstance(group, dict):
            raise _refusal(source, f"a group of config_groups is {shown(group)}")
        _check_group(source, cast("Mapping[str, object]", group))


def _check_group(source: str, group: Mapping[str, object]) -> None:
    scheme = _table(source, group, "weights")
    _require(source, scheme, "num_bits", (8,))
    _require(source, scheme, "type", ("int", None))
    _require(source, scheme, "symmetric", (True, None))
    _require(source, scheme, "strategy", ("channel",))
    _require(source, scheme, "group_size", (None,))
    _require(source, group, "output_activations", (None,))
    inputs = group.get("input_activations")
    if isinstance(inputs, dict):
        _require(source, cast("Mapping[str, object]", inputs), "type", ("int", None))
        _require(source, cast("Mapping[str, object]", inputs), "dynamic", (True,))


def _table(source: str, values: Mapping[str, object], key: str) -> Mapping[str, object]:
    table = values.get(key)
    if not isinstance(table, dict) or not table:
        raise _refusal(source, f"{key} is {shown(cast(object, table))}")
    return cast("Mapping[str, object]", table)


def _require(source: str, values: Mapping[str, object], key: str, accepted: tuple[object, ...]) -> None:
    value = values.get(key)
    if not any(type(value) is type(good) and value == good for good in accepted):
        raise _refusal(source, f"{key} is {shown(value)}")


def _refusal(source: str, seen: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{source}: the model is quantised in a way wayra does not follow ({seen}); it reads {_FOLLOWED}: take the "
        "unquantised model or a GGUF file"
    )
