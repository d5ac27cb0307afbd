"""A container of the service: Dockerfile and compose.yaml for one machine, hardened as far as the engine allows."""

from wayra.plan.deploy.service import CACHE, DRAIN_S, KEYS_FILE, PORT, USER_ID, Service
from wayra.plan.deploy.yaml_text import yaml_text

_WAYRA_DOCKERFILE = f"""\
# {{title}}
# Built from a checkout of wayra:  docker build -t {{image}} -f Dockerfile PATH_OF_WAYRA
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python -m venv /usr/lib/wayra && /usr/lib/wayra/bin/pip install --no-cache-dir /src

FROM python:3.12-slim
COPY --from=build /usr/lib/wayra /usr/lib/wayra
RUN useradd --uid {USER_ID} --user-group --no-create-home --home-dir {CACHE} --shell /usr/sbin/nologin wayra \\
    && install --directory --owner={USER_ID} --group={USER_ID} --mode=700 {CACHE}
ENV PATH=/usr/lib/wayra/bin:$PATH WAYRA_CACHE={CACHE} HOME={CACHE}
USER {USER_ID}:{USER_ID}
EXPOSE {PORT}
STOPSIGNAL SIGTERM
ENTRYPOINT ["wayra"]
"""
_VLLM_DOCKERFILE = f"""\
# {{title}}
# vLLM's own image with a user that is not root:  docker build -t {{name}} .
FROM {{image}}
RUN useradd --uid {USER_ID} --user-group --no-create-home --home-dir {CACHE} --shell /usr/sbin/nologin serving \\
    && install --directory --owner={USER_ID} --group={USER_ID} --mode=700 {CACHE}
USER {USER_ID}:{USER_ID}
EXPOSE {PORT}
STOPSIGNAL SIGTERM
ENTRYPOINT ["vllm"]
"""
SHARED_MEMORY_BYTES = 16 << 30


def dockerfile(service: Service) -> str:
    text = _WAYRA_DOCKERFILE if service.engine == "wayra" else _VLLM_DOCKERFILE
    return text.format(title=service.title, image=service.image, name=local_image(service))


def local_image(service: Service) -> str:
    """What the Dockerfile is built as."""
    return service.image if service.engine == "wayra" else f"{service.name}:local"


def environment(service: Service) -> dict[str, str]:
    """Variables that are no secrets: everything written goes to the cache or to /tmp."""
    if service.engine == "wayra":
        return {"WAYRA_CACHE": CACHE, "HOME": CACHE, "PYTHONUNBUFFERED": "1"}
    return {
        "HOME": CACHE,
        "USER": "serving",
        "HF_HOME": f"{CACHE}/hub",
        "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
        "XDG_CACHE_HOME": f"{CACHE}/xdg",
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
        "VLLM_NO_USAGE_STATS": "1",
    }


def ready_path(service: Service) -> str:
    """vLLM has one path for both questions; ours answers /ready without computing anything."""
    return "/ready" if service.engine == "wayra" else "/health"


def compose(service: Service) -> str:
    """compose.yaml for one machine."""
    variables = environment(service)
    if service.gated:
        variables["HF_TOKEN"] = "${HF_TOKEN:?a token that may read the model}"
    if service.engine == "vllm":
        variables["VLLM_API_KEY"] = "${VLLM_API_KEY:?the key clients must send}"
    probe = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}{ready_path(service)}', timeout=5)"
    python = "python" if service.engine == "wayra" else "python3"
    made: dict[str, object] = {
        "image": local_image(service),
        "entrypoint": [service.command[0]],
        "command": list(service.command[1:]),
        "user": f"{USER_ID}:{USER_ID}",
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp:mode=1777"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "environment": variables,
        "volumes": [f"cache:{CACHE}"],
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "healthcheck": {
            "test": ["CMD", python, "-c", probe],
            "interval": "10s",
            "timeout": "8s",
            "retries": 3,
            "start_period": f"{service.start_s}s",
        },
        "stop_grace_period": f"{DRAIN_S + 30}s",
        "restart": "unless-stopped",
        "deploy": {"resources": _resources(service)},
    }
    document: dict[str, object] = {"services": {service.name: made}, "volumes": {"cache": {}}}
    if service.engine == "wayra":
        made["secrets"] = [{"source": "api_keys", "target": KEYS_FILE}]
        document["secrets"] = {"api_keys": {"file": "${WAYRA_KEYS_FILE:?a file with one API key a line}"}}
    else:
        made["shm_size"] = SHARED_MEMORY_BYTES
    return yaml_text(document, comments=(service.title, "Listens to this machine only: put TLS in front of it."))


def _resources(service: Service) -> dict[str, object]:
    limits: dict[str, object] = {"cpus": str(service.cpus), "memory": str(service.memory_bytes)}
    if not service.gpus:
        return {"limits": limits}
    devices = [{"driver": "nvidia", "count": service.gpus, "capabilities": ["gpu"]}]
    return {"limits": limits, "reservations": {"devices": devices}}
