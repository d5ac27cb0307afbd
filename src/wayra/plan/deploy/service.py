"""What a manifest must know of a service: the exact command, its resources, its probes' patience, how far it scales."""

import math
import re
from dataclasses import dataclass

from wayra.base.errors import InvalidParameter
from wayra.plan.catalogue import candidates
from wayra.plan.options import Place
from wayra.plan.serving import mean_batch

PORT = 8000
USER_ID = 10001
DRAIN_S = 60
CACHE = "/cache"
KEYS_FILE = "/run/secrets/wayra/keys"
WAYRA_IMAGE = "wayra:local"
VLLM_IMAGE = "vllm/vllm-openai:v0.19.0"
MAX_WAYRA_BATCH = 1024
GPU_HOST_CPUS = 4
GPU_HOST_BYTES = 16 << 30
WORKSPACE_BYTES = 64 << 20
DOWNLOAD_BYTES_PER_S = 50e6
START_S = 300
SPARE = 1.1
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=@-]{0,199}")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,254}")
_GPU_MEMORY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user says besides the plan. None: what the plan, or the engine, implies.

    model: name the engine loads. image: container image. cpus: cores a machine gives. max_machines: to scale to.
    kv_share: of the memory left beside the weights, what wayra gives to the KV cache.
    """

    model: str | None = None
    image: str | None = None
    cpus: int | None = None
    max_machines: int | None = None
    kv_share: float = 0.4


@dataclass(frozen=True, slots=True)
class Service:
    """name: a DNS label. engine: "wayra" or "vllm". command: complete, as an exec call takes it.

    memory_bytes: what a machine's container may take, of the host's memory. disk_bytes: for the model. start_s: how
    long a first start may last, the download included. min_machines, max_machines: to scale between.
    target_requests: under way on each machine, on average. gated: the model's source wants a token.
    """

    name: str
    title: str
    engine: str
    model: str
    command: tuple[str, ...]
    image: str
    gpus: int
    cpus: int
    memory_bytes: int
    disk_bytes: int
    start_s: int
    batch: int
    context: int
    min_machines: int
    max_machines: int
    target_requests: int
    gated: bool
    hardware: str
    notes: tuple[str, ...]

    def option(self, name: str) -> str | None:
        """The value of an option of the command."""
        return self.command[self.command.index(name) + 1] if name in self.command else None


def service_of(label: str, place: Place, choices: Choices) -> Service:
    """The service an option stands for: this engine on a CPU, vLLM on cards.

    Raises: InvalidParameter when no engine runs it, or when the name of its checkpoint must be given.
    """
    if place.hardware_kind == "unified":
        raise InvalidParameter(f"no manifest is known for {place.hardware}; start wayra serve on it, or choose a card")
    if place.hardware_kind == "cpu" and place.batch > MAX_WAYRA_BATCH:
        raise InvalidParameter(f"the option has {place.batch:,} sequences at once; wayra serves {MAX_WAYRA_BATCH:,}")
    _check(choices)
    engine = "wayra" if place.hardware_kind == "cpu" else "vllm"
    model = choices.model or _checkpoint(place, engine)
    command = _wayra_command(model, place) if engine == "wayra" else _vllm_command(model, place)
    cpus = choices.cpus or (place.cores if engine == "wayra" else GPU_HOST_CPUS * place.gpus)
    if not cpus:
        raise InvalidParameter(f"the plan does not say how many cores {place.hardware} has; give --cpus N")
    least = max(1, math.ceil(place.mean_requests_per_s / place.requests_per_s))
    most = choices.max_machines or place.machines
    if most < least:
        raise InvalidParameter(f"at most {most} machines, but the mean load alone needs {least}; allow more")
    return Service(
        name=_dns_label(f"{place.model}-{place.format}"),
        title=label,
        engine=engine,
        model=model,
        command=command,
        image=choices.image or (WAYRA_IMAGE if engine == "wayra" else VLLM_IMAGE),
        gpus=place.gpus if engine == "vllm" else 0,
        cpus=cpus,
        memory_bytes=_host_memory(place, engine, choices.kv_share),
        disk_bytes=_disk(place),
        start_s=START_S + math.ceil(_disk(place) / DOWNLOAD_BYTES_PER_S),
        batch=place.batch,
        context=place.context,
        min_machines=least,
        max_machines=most,
        target_requests=max(1, math.floor(mean_batch(place.batch))),
        gated=model.startswith("meta-llama/"),
        hardware=place.hardware,
        notes=_notes(place, engine, model),
    )


def _check(choices: Choices) -> None:
    if choices.model is not None and not _MODEL.fullmatch(choices.model):
        raise InvalidParameter(f"the model {choices.model[:60]!r} is no name an engine could load; write org/repo")
    if choices.image is not None and not _IMAGE.fullmatch(choices.image):
        raise InvalidParameter(f"the image {choices.image[:60]!r} is no image name; write registry/name:tag")
    for what, value, most in (("cpus", choices.cpus, 4096), ("machines", choices.max_machines, 100_000)):
        if value is not None and not 1 <= value <= most:
            raise InvalidParameter(f"{value:,} {what}; expected 1 to {most:,}")


def _checkpoint(place: Place, engine: str) -> str:
    """The public checkpoint in this format."""
    (candidate,) = candidates((place.model,))
    if engine == "wayra" and place.format != "bf16":
        found = f"{candidate.gguf}:{place.format.upper()}" if candidate.gguf else ""
    else:
        stored = {"bf16": candidate.hub, "fp8": candidate.fp8 or candidate.hub, "awq-int4": candidate.int4}
        found = stored.get(place.format, "")
    if not found:
        raise InvalidParameter(
            f"no checkpoint of {candidate.title} in {place.format} is known here; name one with --model ORG/REPO"
        )
    return found


def _wayra_command(model: str, place: Place) -> tuple[str, ...]:
    return (
        "wayra", "serve", model,
        "--host", "0.0.0.0",
        "--port", str(PORT),
        "--api-key-file", KEYS_FILE,
        "--context", str(place.context),
        "--max-batch", str(place.batch),
        "--drain-timeout", str(DRAIN_S),
        "--prefix-disk", "0",
    )  # fmt: skip


def _vllm_command(model: str, place: Place) -> tuple[str, ...]:
    """vLLM reads its API key from VLLM_API_KEY."""
    # Of a quantised checkpoint vLLM reads the format itself, and refuses a flag that names another.
    quantised = ("--quantization", "fp8") if _makes_fp8(model, place) else ()
    return (
        "vllm", "serve", model,
        "--host", "0.0.0.0",
        "--port", str(PORT),
        "--tensor-parallel-size", str(place.gpus),
        "--max-model-len", str(place.context),
        "--max-num-seqs", str(place.batch),
        "--gpu-memory-utilization", str(_GPU_MEMORY_SHARE),
        *quantised,
    )  # fmt: skip


def _makes_fp8(model: str, place: Place) -> bool:
    """Whether vLLM must make FP8 of 16-bit weights; a name that says FP8 is of weights stored so."""
    return place.format == "fp8" and "fp8" not in model.lower()


def _host_memory(place: Place, engine: str, kv_share: float) -> int:
    """This engine sizes its KV cache by a share of what the limit leaves beside the weights."""
    if engine == "vllm":
        return GPU_HOST_BYTES * place.gpus
    planned = SPARE * (place.weights_bytes + place.kv_bytes + place.runtime_bytes)
    for_cache = place.weights_bytes + place.runtime_bytes + WORKSPACE_BYTES + place.kv_bytes / kv_share
    return _whole_mib(max(planned, for_cache))


def _disk(place: Place) -> int:
    """The download (16 bit where FP8 is made while loading), what is packed of it, and room to replace it."""
    return math.ceil((2.4 * place.weights_bytes + (2 << 30)) / 2**30) << 30


def _whole_mib(count: float) -> int:
    return math.ceil(count / 2**20) << 20


def _dns_label(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].rstrip("-")


def _notes(place: Place, engine: str, model: str) -> tuple[str, ...]:
    found: list[str] = []
    if engine == "vllm":
        found.append(f"the cards must be {place.hardware}: the plan's memory and times are of that card")
        found.append("host memory and cores a card are assumed: 16 GiB and 4")
    if engine == "vllm" and _makes_fp8(model, place):
        found.append(
            "vLLM makes FP8 of the 16-bit checkpoint while it loads, which takes more memory for that while than the "
            "plan counts; name a checkpoint stored in FP8 with --model where that does not fit"
        )
    (candidate,) = candidates((place.model,))
    owner, maker = model.partition("/")[0], candidate.hub.partition("/")[0]
    if owner != maker and model.partition(":")[0] in (candidate.fp8, candidate.int4, candidate.gguf):
        found.append(f"the weights are quantised by {owner}, not by the model's makers; measure them with wayra eval")
    if place.machines > 1:
        found.append(f"the plan has {place.machines} machines for its busiest minutes")
    return tuple(found)
