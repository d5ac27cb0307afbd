"""The files of a deployment: for each target its own, and DEPLOY.md with the commands that use them."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from wayra.base.errors import InvalidParameter
from wayra.plan.deploy import containers, kubernetes, ray_serve
from wayra.plan.deploy.service import PORT, USER_ID, Service

TARGETS = ("docker", "k8s", "ray", "vllm")
GUIDE = "DEPLOY.md"


def files_of(service: Service, targets: Sequence[str]) -> dict[str, str]:
    """File name to text, for these TARGETS. Raises InvalidParameter for vLLM without cards."""
    if "vllm" in targets and service.engine != "vllm":
        raise InvalidParameter("the option is planned on a CPU with this engine; --vllm is for options on cards")
    found: dict[str, str] = {}
    if "docker" in targets or "vllm" in targets:
        found["Dockerfile"] = containers.dockerfile(service)
        found["compose.yaml"] = containers.compose(service)
    if "vllm" in targets:
        found["vllm.sh"] = _script(service)
    if "k8s" in targets:
        found["kubernetes.yaml"] = kubernetes.manifests(service)
        if service.engine == "wayra":
            found["Dockerfile"] = containers.dockerfile(service)
    if "ray" in targets:
        found["serve.yaml"] = ray_serve.configuration(service)
        if service.engine == "wayra":
            found[f"{ray_serve.APPLICATION}.py"] = ray_serve.application(service)
    found[GUIDE] = _guide(service, targets)
    return found


def write_files(folder: Path, files: Mapping[str, str], *, force: bool) -> None:
    """Write them all, or none where one is there already. Raises InvalidParameter naming it or the cause."""
    there = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if there and not force:
        raise InvalidParameter(f"{folder / there[0]} exists; give another folder, or --force to write over it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
            if name.endswith(".sh"):
                (folder / name).chmod(0o755)
    except OSError as error:
        raise InvalidParameter(f"{error.filename or folder} cannot be written: {error.strerror}") from error


def _script(service: Service) -> str:
    return (
        f"#!/bin/sh\n# {service.title}\nset -eu\n"
        ': "${VLLM_API_KEY:?set it to the key clients must send}"\n'
        "export VLLM_API_KEY\n"
        f"exec {_command(service)}\n"
    )


def _command(service: Service) -> str:
    """The command, an option and its value a line."""
    words = [shlex.quote(word) for word in service.command]
    return " ".join(words).replace(" --", " \\\n    --")


def _guide(service: Service, targets: Sequence[str]) -> str:
    parts = [f"# {service.title}", "", "The command:", "", "```sh", _command(service), "```", ""]
    if "docker" in targets or "vllm" in targets:
        parts += _docker_guide(service)
    if "k8s" in targets:
        parts += _kubernetes_guide(service)
    if "ray" in targets:
        parts += _ray_guide(service)
    if service.notes:
        parts += ["## Know", "", *(f"- {note}" for note in service.notes), ""]
    return "\n".join(parts)


def _docker_guide(service: Service) -> list[str]:
    if service.engine == "wayra":
        build = f"docker build -t {service.image} -f Dockerfile PATH_OF_A_WAYRA_CHECKOUT"
        keys = [
            f"`WAYRA_KEYS_FILE` names a file with one API key a line, readable by user {USER_ID}.",
        ]
        start = "WAYRA_KEYS_FILE=./keys.txt docker compose up --detach"
    else:
        build = f"docker build -t {containers.local_image(service)} ."
        keys = ["`VLLM_API_KEY` is the key clients must send."]
        start = "docker compose up --detach   # with VLLM_API_KEY set"
    if service.gated:
        keys.append("`HF_TOKEN` must be a token that may read the model.")
    return ["## Docker", "", *keys, "", "```sh", build, start, f"curl localhost:{PORT}/health", "```", ""]


def _kubernetes_guide(service: Service) -> list[str]:
    secret = "--from-file=keys=keys.txt" if service.engine == "wayra" else "--from-file=key=key.txt"
    token = " --from-file=hub-token=token.txt" if service.gated else ""
    parts = ["## Kubernetes", ""]
    if service.engine == "wayra":
        parts += [f"Build the image {service.image} from the Dockerfile and push it where the cluster finds it.", ""]
    parts += [
        "```sh",
        f"kubectl create secret generic {service.name}-keys {secret}{token}",
        "kubectl apply -f kubernetes.yaml",
        "```",
        "",
        f"Clients are pods with the label `{kubernetes.CLIENT_LABEL}: {service.name}`; Prometheus needs it too.",
    ]
    if service.engine == "wayra":
        parts += ["Prometheus also needs one of the API keys (`authorization: credentials_file`) to read `/metrics`."]
    if service.max_machines > 1:
        parts += ["", "The volume is shared by several pods: the cluster's storage class must allow ReadWriteMany."]
    if service.max_machines > service.min_machines:
        parts += [
            "",
            f"The autoscaler looks at `{kubernetes.METRIC}`, which Prometheus' adapter makes of the server's metric:",
            "",
            "```yaml",
            "rules:",
            '- seriesQuery: \'vllm:num_requests_running{namespace!="",pod!=""}\'',
            "  resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}",
            f"  name: {{as: {kubernetes.METRIC}}}",
            "  metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
            "```",
        ]
    return [*parts, ""]


def _ray_guide(service: Service) -> list[str]:
    needs = "wayra" if service.engine == "wayra" else "ray[serve,llm]"
    return [
        "## Ray Serve",
        "",
        f"On every machine of the cluster: `pip install 'ray[serve]'` and {needs}"
        if service.engine == "wayra"
        else f"On every machine of the cluster: `pip install '{needs}'`",
        "",
        "```sh",
        "serve deploy serve.yaml" if service.engine == "vllm" else "PYTHONPATH=. serve run serve.yaml",
        "```",
        "",
        *(
            [
                "`serve deploy` needs wayra_app.py where the cluster can import it: in its image, or in a working_dir.",
                "",
            ]
            if service.engine == "wayra"
            else []
        ),
    ]
