"""Ray Serve: its configuration, and for this engine a small application that runs the exact command."""

from wayra.plan.deploy.service import DRAIN_S, KEYS_FILE, PORT, Service
from wayra.plan.deploy.yaml_text import yaml_text

APPLICATION = "wayra_app"
# Ray's names of cards, which differ from ours; others are left to the cluster.
ACCELERATORS = {
    "h100-sxm": "H100", "h100-pcie": "H100", "h200": "H200", "b200": "B200", "a100-sxm-80gb": "A100",
    "a100-pcie-80gb": "A100", "a100-sxm-40gb": "A100", "l40s": "L40S", "l4": "L4", "a10": "A10G",
}  # fmt: skip

_APPLICATION = '''\
"""{title}

Each replica runs `wayra serve` on a free port of its machine and passes requests on, streamed answers as they come.
"""

import json
import subprocess

import aiohttp
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

COMMAND = {command}
HOP_BY_HOP = ("connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")


@serve.deployment
class Engine:
    def __init__(self) -> None:
        self._process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        # One line of JSON, when the model is loaded.
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"wayra serve ended with {{self._process.wait()}}; its log is on standard error")
        self._url = json.loads(line)["url"]
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        # Made in the event loop, where it belongs. Answers may take long; the server has limits of its own.
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        return self._session

    async def check_health(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"wayra serve ended with {{self._process.returncode}}")
        async with self._client().get(f"{{self._url}}/health") as answer:
            answer.raise_for_status()

    async def __call__(self, request: Request) -> Response:
        headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
        path = request.url.path + (f"?{{request.url.query}}" if request.url.query else "")
        body = await request.body()
        answer = await self._client().request(request.method, self._url + path, headers=headers, data=body)

        async def parts():
            try:
                async for part in answer.content.iter_any():
                    yield part
            finally:
                # Closed early, it ends the connection, and the engine the request.
                answer.close()

        kept = {{name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}}
        return StreamingResponse(parts(), answer.status, kept)

    def __del__(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()


app = Engine.bind()
'''


def application(service: Service) -> str:
    """The module that the configuration names, for this engine."""
    words = list(service.command)
    words[words.index("--host") + 1] = "127.0.0.1"
    words[words.index("--port") + 1] = "0"
    lines = "\n".join(f"    {_quoted(word)}," for word in [*words, "--json"])
    return _APPLICATION.format(title=service.title.replace('"', "'").replace("\\", "/"), command=f"[\n{lines}\n]")


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def configuration(service: Service) -> str:
    """The file for `serve deploy`."""
    made = _own(service) if service.engine == "wayra" else _vllm(service)
    document = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": PORT, "request_timeout_s": 3600},
        "applications": [made],
    }
    keys = (
        f"The file {KEYS_FILE} with the API keys must be on every machine."
        if service.engine == "wayra"
        else "Ray's LLM application checks no API key: put a gateway that does in front of it."
    )
    return yaml_text(document, comments=(service.title, keys))


def _scaling(service: Service) -> dict[str, object]:
    return {
        "min_replicas": service.min_machines,
        "max_replicas": service.max_machines,
        "target_ongoing_requests": service.target_requests,
        "upscale_delay_s": 10,
        "downscale_delay_s": 600,
    }


def _own(service: Service) -> dict[str, object]:
    return {
        "name": service.name,
        "route_prefix": "/",
        "import_path": f"{APPLICATION}:app",
        "deployments": [
            {
                "name": "Engine",
                "max_ongoing_requests": 2 * service.batch,
                "graceful_shutdown_timeout_s": DRAIN_S,
                "health_check_period_s": 30,
                "health_check_timeout_s": 30,
                "autoscaling_config": _scaling(service),
                "ray_actor_options": {"num_cpus": service.cpus, "memory": service.memory_bytes},
            }
        ],
    }


def _vllm(service: Service) -> dict[str, object]:
    engine: dict[str, object] = {
        "tensor_parallel_size": service.gpus,
        "max_model_len": service.context,
        "max_num_seqs": service.batch,
        "gpu_memory_utilization": float(service.option("--gpu-memory-utilization") or 0.9),
    }
    if (quantised := service.option("--quantization")) is not None:
        engine["quantization"] = quantised
    config: dict[str, object] = {
        "model_loading_config": {"model_id": service.name, "model_source": service.model},
        "engine_kwargs": engine,
        "deployment_config": {
            "max_ongoing_requests": 2 * service.batch,
            "autoscaling_config": _scaling(service),
        },
    }
    if service.hardware in ACCELERATORS:
        config["accelerator_type"] = ACCELERATORS[service.hardware]
    return {
        "name": service.name,
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [config]},
    }
