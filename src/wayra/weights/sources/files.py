"""Which files of a repository make one model: pure choice over a list of names, never a pickle, never code."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from wayra.base.errors import ModelNotFound, UnsupportedModel
from wayra.weights.names import INDEX_NAME

QUANT_PREFERENCE = (
    "Q4_K_M", "Q4_0", "Q8_0", "Q4_K_S", "Q5_K_M", "Q4_1", "Q6_K", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_L", "Q6_K_L",
    "Q3_K_M", "Q3_K_L", "BF16", "F16", "Q3_K_S", "Q2_K", "F32",
)  # fmt: skip
COMPANIONS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip

_QUANT = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]{1,3})*|TQ\d_\d|MXFP\d(?:_MOE)?|NVFP\d|BF16|FP?16|FP?32))(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_SPLIT = re.compile(r"^(?P<stem>.*)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
_UNREADABLE = re.compile(r"^(UD-)?(IQ|TQ|MXFP|NVFP)|^Q4_0_\d_\d$|^Q[48]_0_R\d$")
_NOT_A_MODEL = re.compile(r"(^|[-_./])(mmproj|imatrix)", re.IGNORECASE)
_PICKLES = (".bin", ".pth", ".pt", ".pkl", ".ckpt")


@dataclass(frozen=True, slots=True)
class Selection:
    """entry: what to open, "." for the folder itself. weights: files that hold weights. companions: small files.

    format: "GGUF Q4_K_M", "safetensors". needs_index: the shards are named by INDEX_NAME, to be read first.
    """

    entry: str
    weights: tuple[str, ...]
    companions: tuple[str, ...]
    format: str
    needs_index: bool = False


def quant_of(file_name: str) -> str | None:
    """The quantisation a GGUF's name tells: "x.q4_k_m-00001-of-00002.gguf" -> "Q4_K_M"; None when it tells none."""
    found = _QUANT.findall(PurePosixPath(file_name).name.removesuffix(".gguf"))
    if not found:
        return None
    quant: str = found[-1].upper()
    return {"FP16": "F16", "FP32": "F32"}.get(quant, quant)


def format_of(file_name: str) -> str:
    """A short description for lists."""
    if not file_name.lower().endswith(".gguf"):
        return "safetensors"
    quant = quant_of(file_name)
    return f"GGUF {quant}" if quant else "GGUF"


def choose(repo: str, files: Sequence[str], quant: str | None = None, file: str | None = None) -> Selection:
    """The files to fetch from `repo`. Raises ModelNotFound (nothing fits, or too much), UnsupportedModel (pickles)."""
    if file is not None:
        return _choose_file(repo, files, file)
    models = gguf_models(files)
    if quant is not None:
        return _choose_quant(repo, models, quant)
    if models:
        return _choose_default(repo, models)
    if "config.json" in files and any(name.endswith(".safetensors") and "/" not in name for name in files):
        return _choose_safetensors(files)
    if any(name.endswith(_PICKLES) for name in files):
        raise UnsupportedModel(
            f"{repo} has only pickled weights, which can run code and are never loaded; "
            "look for a GGUF or safetensors version of it"
        )
    raise ModelNotFound(f"{repo} has no model wayra reads (no .gguf, no .safetensors with a config.json)")


def gguf_models(files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """GGUF models among `files`: first file -> all its files, splits grouped. Incomplete sets are left out."""
    whole: dict[str, tuple[str, ...]] = {}
    splits: dict[tuple[str, int], set[str]] = {}
    for name in files:
        if not name.lower().endswith(".gguf") or _NOT_A_MODEL.search(name):
            continue
        if (match := _SPLIT.match(name)) is None:
            whole[name] = (name,)
        else:
            splits.setdefault((match["stem"], int(match["count"])), set()).add(name)
    for (_, count), names in splits.items():
        parts = tuple(sorted(names))
        if len(parts) == count:
            whole[parts[0]] = parts
    return dict(sorted(whole.items()))


def shards_of(weight_map: Iterable[object]) -> tuple[str, ...]:
    """The shard files an index names. Raises UnsupportedModel on a name that is no plain file name."""
    names = sorted({str(name) for name in weight_map})
    for name in names:
        if PurePosixPath(name).name != name or not name.endswith(".safetensors"):
            raise UnsupportedModel(f"{INDEX_NAME} names the shard {name!r}; expected a plain .safetensors file name")
    return tuple(names)


def _gguf_selection(parts: tuple[str, ...]) -> Selection:
    return Selection(entry=parts[0], weights=parts, companions=(), format=format_of(parts[0]))


def _choose_file(repo: str, files: Sequence[str], file: str) -> Selection:
    if file not in files:
        near = [name for name in files if PurePosixPath(name).suffix == PurePosixPath(file).suffix]
        raise ModelNotFound(f"{repo} has no file {file!r}; it has {_listed(near) if near else 'none of that kind'}")
    if not file.endswith(".gguf"):
        return Selection(file, (file,), _companions(files), "safetensors")
    for parts in gguf_models(files).values():
        if file in parts:
            return _gguf_selection(parts)
    raise ModelNotFound(f"{repo}/{file} is no complete model; it has {_listed(list(gguf_models(files)))}")


def _choose_quant(repo: str, models: dict[str, tuple[str, ...]], quant: str) -> Selection:
    wanted = {"FP16": "F16", "FP32": "F32"}.get(quant.upper(), quant.upper())
    if _UNREADABLE.search(wanted):
        raise UnsupportedModel(f"{wanted} is not a format wayra reads; {repo} also has {_quants(models)}")
    fitting = [parts for first, parts in models.items() if quant_of(first) == wanted]
    if not fitting:
        raise ModelNotFound(f"{repo} has no {wanted} GGUF; it has {_quants(models)}")
    return _only(repo, fitting, f"{wanted} ")


def _choose_default(repo: str, models: dict[str, tuple[str, ...]]) -> Selection:
    for quant in QUANT_PREFERENCE:
        fitting = [parts for first, parts in models.items() if quant_of(first) == quant]
        if fitting:
            return _only(repo, fitting, f"{quant} ")
    readable = [parts for first, parts in models.items() if not _UNREADABLE.search(quant_of(first) or "")]
    if not readable:
        raise UnsupportedModel(f"{repo} has only {_quants(models)}, formats wayra does not read")
    return _only(repo, readable, "")


def _only(repo: str, fitting: list[tuple[str, ...]], kind: str) -> Selection:
    if len(fitting) > 1:
        names = _listed([parts[0] for parts in fitting])
        raise ModelNotFound(
            f"{repo} has several {kind}GGUF models: {names}; name one, as in hf://{repo}/{fitting[0][0]}"
        )
    return _gguf_selection(fitting[0])


def _choose_safetensors(files: Sequence[str]) -> Selection:
    companions = _companions(files)
    if INDEX_NAME in files:
        return Selection(".", (), (INDEX_NAME, *companions), "safetensors", needs_index=True)
    root = [name for name in files if name.endswith(".safetensors") and "/" not in name]
    # `consolidated` files repeat the whole model in another naming: fetching both would double the download.
    weights = ["model.safetensors"] if "model.safetensors" in root else root
    return Selection(".", tuple(sorted(weights)), companions, "safetensors")


def _companions(files: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in COMPANIONS if name in files)


def _quants(models: dict[str, tuple[str, ...]]) -> str:
    return _listed(sorted({quant_of(first) or PurePosixPath(first).name for first in models})) if models else "no GGUF"


def _listed(names: Sequence[str], limit: int = 12) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
