"""Descriptions of models from what a user has: a shipped name, a config.json, a GGUF or safetensors file."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from wayra.base.errors import FileFormatError, InvalidParameter, ModelNotFound, UnsupportedModel
from wayra.model.keys import shown
from wayra.plan.configs.reader import from_config
from wayra.plan.files import read_text
from wayra.plan.gguf_header import sized_by_header
from wayra.plan.models import Architecture, architecture, from_spec
from wayra.plan.stored import Stored, TensorBytes, as_stored, product_work
from wayra.weights.gguf import GgufCheckpoint
from wayra.weights.loader import load_weights, model_spec, open_checkpoint
from wayra.weights.tensors import ModelWeights

MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Described:
    """A model to plan with. stored: how a file's own weights are stored, None where only the shape is known."""

    model: Architecture
    stored: Stored | None = None


def describe(name: str) -> Described:
    """By path (config.json, a folder with one, a GGUF or safetensors file) or by a name of the table.

    Raises: InvalidParameter on an unknown name, ModelNotFound, FileFormatError, UnsupportedModel.
    """
    if not name.strip():
        raise InvalidParameter("the model's name is empty; give a name, a config.json or a GGUF file")
    path = path_of(name)
    if path is None:
        return Described(architecture(name))
    if path.suffix == ".json":
        return Described(_config_file(path))
    if path.is_dir() and (path / "config.json").is_file() and not any(path.glob("*.safetensors")):
        return Described(_config_file(path / "config.json"))
    if path.exists() or path.suffix in (".gguf", ".safetensors"):
        return _weights_file(path)
    return Described(architecture(name))


def path_of(name: str) -> Path | None:
    """The path that a name may be; None for what no file can be called."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    return path


def _weights_file(path: Path) -> Described:
    if not path.exists():
        raise ModelNotFound(f"there is no file {path}")
    checkpoint = open_checkpoint(path)
    try:
        try:
            spec = model_spec(checkpoint)
            model = from_spec(replace(spec, name=spec.name or path.stem), source=path.name)
            return Described(model, _stored_in(load_weights(checkpoint, spec), model, path.name))
        except UnsupportedModel:
            if not isinstance(checkpoint, GgufCheckpoint):
                raise
            return Described(*sized_by_header(checkpoint, path.stem, path.name))
    finally:
        checkpoint.close()


def _stored_in(weights: ModelWeights, model: Architecture, where: str) -> Stored:
    tables = linear = 0
    work = 0.0
    for slot, weight in weights.matrices.items():
        size = sum(part.tensor.data.nbytes for part in weight.parts)
        if slot in ("embed", "head"):
            tables += size
        else:
            linear += size
            work += sum(
                part.tensor.data.nbytes * 8 / part.tensor.fmt.bits_per_weight * product_work(part.tensor.fmt.name)
                for part in weight.parts
            )
    small = sum(vector.nbytes for vector in weights.vectors.values())
    quantised = any(part.tensor.fmt.is_quantised for weight in weights.matrices.values() for part in weight.parts)
    found = TensorBytes(linear, tables, small)
    return as_stored(model, found, quantised=quantised, source=where, work=work / model.linear)


def _config_file(path: Path) -> Architecture:
    if not path.exists():
        raise ModelNotFound(f"there is no file {path}")
    text = read_text(path, MAX_CONFIG_BYTES, "model's config.json")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is no JSON: {str(error)[:120]}") from error
    if not isinstance(config, dict):
        raise FileFormatError(f"{path} holds {shown(config)}; expected an object, as a config.json is")
    found: dict[str, object] = {str(key): value for key, value in config.items()}
    name = path.parent.name if path.name == "config.json" else path.stem
    return from_config(found, name=name or "model", source=path.name)
