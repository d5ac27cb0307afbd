"""`wayra deploy`: manifests that set up an option of a plan."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.cli.output import emit, json_option, print_line, printable, to_json
from wayra.llm.memory import KV_SHARE
from wayra.plan.deploy.bundle import GUIDE, TARGETS, files_of, write_files
from wayra.plan.deploy.document import MAX_BYTES, place_in_plan
from wayra.plan.deploy.service import Choices, Service, service_of
from wayra.plan.market import Market
from wayra.plan.planner import make_plan
from wayra.plan.prices.table import shipped_prices
from wayra.plan.view import as_document
from wayra.plan.workload import SCENARIOS, Workload, read_workload, scenario

EPILOG = """\b
Examples:
  wayra plan work.toml --json > plan.json
  wayra deploy plan.json --option 2 --k8s --out deploy/
  wayra plan work.toml --here --json | wayra deploy - --docker
  wayra deploy hipaa-on-premises --vllm
"""


@click.command(epilog=EPILOG)
@click.argument("plan")
@click.option("--option", default="1", show_default=True, metavar="N", help="Which option; N.M a part of a hybrid.")
@click.option("--docker", is_flag=True, help="Dockerfile and compose.yaml.")
@click.option("--k8s", is_flag=True, help="Kubernetes manifests.")
@click.option("--ray", is_flag=True, help="A configuration of Ray Serve.")
@click.option("--vllm", is_flag=True, help="The command and compose.yaml of vLLM, for options on cards.")
@click.option("--model", metavar="NAME", help="The checkpoint to load, instead of the one known for the option.")
@click.option("--image", metavar="IMAGE", help="The container image to run or to build.")
@click.option("--cpus", type=int, metavar="N", help="Cores a machine gives.")
@click.option("--max-machines", type=int, metavar="N", help="Most machines to scale to.  [default: the plan's]")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write the files here, not to stdout.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@json_option
def deploy(plan: str, as_json: bool, **flags: Any) -> None:
    """Write what sets up an option of a plan: resources, probes, scaling and the exact command.

    PLAN is what `wayra plan --json` printed (- reads it from stdin), a workload file, or a shipped scenario. Options on
    a CPU run this engine, options on cards vLLM. Secrets are only referred to.
    """
    targets = [name for name in TARGETS if flags[name]]
    if not targets:
        raise click.UsageError("say for what: --docker, --k8s, --ray or --vllm")
    text, where = _plan_text(plan)
    label, place = place_in_plan(text, flags["option"], where)
    choices = Choices(flags["model"], flags["image"], flags["cpus"], flags["max_machines"], KV_SHARE)
    service = service_of(label, place, choices)
    files = files_of(service, targets)
    out: Path | None = flags["out"]
    if out is not None:
        write_files(out, files, force=flags["force"])
    document = {"service": service, "files": files, "out": str(out) if out is not None else None}
    emit(document, as_json, lambda: _print(service, files, out))


def _plan_text(name: str) -> tuple[str, str]:
    """The JSON of the plan, made first where a workload or a scenario is named; and what to call it."""
    if name in SCENARIOS:
        return _made(scenario(name)), name
    if name == "-":
        return sys.stdin.read(MAX_BYTES + 1), "standard input"
    path = Path(name)
    if path.suffix == ".toml":
        return _made(read_workload(path)), path.name
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidParameter(
            f"there is no file {name}; give a plan, a workload file, or one of {', '.join(SCENARIOS)}"
        ) from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path.name} is not UTF-8 text; give what wayra plan --json prints") from None
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror}") from error
    return (_made(read_workload(path)) if _is_workload(text) else text), path.name


def _is_workload(text: str) -> bool:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "traffic" in document and "options" not in document


def _made(workload: Workload) -> str:
    return to_json(as_document(make_plan(workload, Market(shipped_prices(), datetime.now(tz=UTC).date()))))


def _print(service: Service, files: Mapping[str, str], out: Path | None) -> None:
    if out is not None:
        print_line(printable(f"{service.title}: {', '.join(files)} in {out}"))
        print_line(printable(f"{out / GUIDE} says how to use them"))
        for text in service.notes:
            print_line(printable(f"note: {text}"))
        return
    for name, text in files.items():
        print_line(f"# ==== {name}")
        for line in text.splitlines():
            print_line(printable(line))
        print_line()
