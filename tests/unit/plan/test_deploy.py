"""Manifests: the exact command, resources from the plan, no secret inlined, nothing allowed that need not be."""

import ast
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import EVERY_SERVICE, ON_CARDS, ON_CPU, card_service, cpu_service, scaled_cpu_service

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.cli.serve import serve
from wayra.llm.memory import KV_SHARE, WORKSPACE_BYTES
from wayra.plan.deploy.bundle import TARGETS, files_of, write_files
from wayra.plan.deploy.document import place_in_plan
from wayra.plan.deploy.kubernetes import manifests
from wayra.plan.deploy.ray_serve import application, configuration
from wayra.plan.deploy.service import Choices, Service, service_of
from wayra.plan.deploy.yaml_text import yaml_text
from wayra.server.door import OPEN_PATHS

EVERY = pytest.mark.parametrize("name", EVERY_SERVICE)


def objects(service: Service) -> dict[str, Any]:
    """Kubernetes objects by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(manifests(service))}


def pod(service: Service) -> dict[str, Any]:
    return objects(service)["Deployment"]["spec"]["template"]["spec"]


def composed(service: Service) -> dict[str, Any]:
    return yaml.safe_load(files_of(service, ["docker"])["compose.yaml"])


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    else:
        yield str(value)


def test_the_command_is_one_that_wayra_serve_understands() -> None:
    command = cpu_service().command
    assert command[:2] == ("wayra", "serve")
    parsed = serve.make_context("serve", list(command[2:])).params
    assert parsed["name"] == "bartowski/Llama-3.2-1B-Instruct-GGUF:Q8_0"
    assert (parsed["host"], parsed["port"]) == ("0.0.0.0", 8000)
    assert (parsed["context"], parsed["max_batch"], parsed["drain_timeout"]) == (4096, 8, 60)
    assert parsed["api_key_file"] == Path("/run/secrets/wayra/keys")


def test_every_place_that_starts_it_has_the_same_command() -> None:
    service = cpu_service()
    container = pod(service)["containers"][0]
    made = composed(service)["services"][service.name]
    assert (*container["command"], *container["args"]) == service.command
    assert (*made["entrypoint"], *made["command"]) == service.command
    (found,) = [
        node.value
        for node in ast.parse(application(service)).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "COMMAND"
    ]
    words = ast.literal_eval(found)
    # Behind Ray's proxy it listens to its machine alone, on a port that is free.
    local = {"--host": "127.0.0.1", "--port": "0"}
    expected = [local.get(before, word) for before, word in zip(("", *service.command), service.command, strict=False)]
    assert words == [*expected, "--json"]
    serve.make_context("serve", words[2:])


def test_options_on_cards_run_vllm_with_the_plans_numbers() -> None:
    command = card_service().command
    assert command[:3] == ("vllm", "serve", "RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8")
    options = dict(zip(command[3::2], command[4::2], strict=True))
    assert options["--tensor-parallel-size"] == "2"
    assert options["--max-model-len"] == "32768"
    assert options["--max-num-seqs"] == "32"
    # vLLM refuses the flag for weights that are stored quantised: it reads how from the checkpoint.
    assert "--quantization" not in options
    of_16_bits = service_of("x", ON_CARDS, Choices(model="meta-llama/Llama-3.1-70B-Instruct"))
    assert of_16_bits.option("--quantization") == "fp8"
    assert any("makes FP8 of the 16-bit checkpoint" in note for note in of_16_bits.notes)
    assert not any("makes FP8" in note for note in card_service().notes)
    assert "--quantization" not in card_service(format="bf16").command
    assert files_of(card_service(), ["vllm"])["vllm.sh"].count("exec vllm serve") == 1


def test_memory_holds_the_plan_and_gives_the_engine_its_kv_cache() -> None:
    service = cpu_service()
    assert service.memory_bytes >= 1.1 * (1.313e9 + 0.262e9 + 0.09e9)
    # What the engine gives to the KV cache of what the limit leaves beside weights, workspace and itself.
    left = service.memory_bytes - 1.313e9 - 0.09e9 - WORKSPACE_BYTES
    assert KV_SHARE * left >= 0.262e9
    limits = pod(service)["containers"][0]["resources"]
    assert limits["limits"]["memory"] == limits["requests"]["memory"] == f"{service.memory_bytes >> 20}Mi"
    assert limits["limits"]["cpu"] == "64"
    assert composed(service)["services"][service.name]["deploy"]["resources"]["limits"]["memory"] == str(
        service.memory_bytes
    )


def test_cards_are_asked_for_by_their_number() -> None:
    service = card_service()
    resources = pod(service)["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "2"
    (device,) = composed(service)["services"][service.name]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"]) == ("nvidia", 2)


@EVERY
def test_nothing_runs_as_root_or_writes_to_its_image(name: str) -> None:
    service = EVERY_SERVICE[name]()
    spec = pod(service)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    made = composed(service)["services"][service.name]
    assert (made["user"], made["read_only"], made["cap_drop"]) == ("10001:10001", True, ["ALL"])
    assert "no-new-privileges:true" in made["security_opt"]
    dockerfile = files_of(service, ["docker"])["Dockerfile"].splitlines()
    assert [line for line in dockerfile if line.startswith("USER ")][-1] == "USER 10001:10001"


@EVERY
def test_all_it_writes_to_is_mounted(name: str) -> None:
    spec = pod(EVERY_SERVICE[name]())
    (container,) = spec["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/cache", "/tmp"} <= mounted
    written = {item["value"] for item in container["env"] if str(item.get("value", "")).startswith("/")}
    assert all(path.split("/")[1] == "cache" for path in written)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


@EVERY
def test_secrets_are_only_referred_to(name: str) -> None:
    service = EVERY_SERVICE[name]()
    assert "Secret" not in objects(service)
    for item in pod(service)["containers"][0]["env"]:
        if any(word in item["name"] for word in ("KEY", "TOKEN")):
            assert item["valueFrom"]["secretKeyRef"]["name"] == f"{service.name}-keys"
    made = composed(service)
    for variable, value in made["services"][service.name]["environment"].items():
        assert not any(word in variable for word in ("KEY", "TOKEN")) or value.startswith("${" + variable + ":?")
    assert all(text["file"].startswith("${WAYRA_KEYS_FILE:?") for text in made.get("secrets", {}).values())
    assert "--api-key" not in service.command


def test_gated_models_want_a_token_and_others_do_not() -> None:
    named = {item["name"] for item in pod(card_service(format="bf16"))["containers"][0]["env"]}
    assert {"HF_TOKEN", "VLLM_API_KEY"} <= named
    assert not any("TOKEN" in text for text in strings(objects(cpu_service())))


def test_probes_ask_what_the_server_answers_without_a_key() -> None:
    container = pod(cpu_service())["containers"][0]
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}
    assert {path.encode() for path in asked.values()} <= OPEN_PATHS
    # The server gives a health check ten seconds; a probe that waits less would kill a busy one.
    assert container["livenessProbe"]["timeoutSeconds"] > 10


def test_a_first_start_has_time_to_download() -> None:
    startup = pod(card_service())["containers"][0]["startupProbe"]
    # 72.7 GB of FP8 are 145 GB of 16 bit at 50 MB/s.
    assert startup["periodSeconds"] * startup["failureThreshold"] > 145e9 / 50e6


def test_scaling_follows_the_plans_load() -> None:
    scaler = objects(card_service())["HorizontalPodAutoscaler"]["spec"]
    # 0.7 requests a second of 1.0 a machine; three machines for the busiest minutes.
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 3)
    # The mean m with m + 1.645 sqrt(m) = 32 is 23.99.
    assert scaler["metrics"][0]["pods"]["target"] == {"type": "AverageValue", "averageValue": "23"}
    assert "replicas" not in objects(card_service())["Deployment"]["spec"]
    on_cpus = objects(scaled_cpu_service())["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert {metric["type"] for metric in on_cpus} == {"Pods", "Resource"}


def test_one_machine_is_not_scaled_and_gives_up_its_volume_before_the_next_takes_it() -> None:
    made = objects(cpu_service())
    assert "HorizontalPodAutoscaler" not in made
    assert made["Deployment"]["spec"]["replicas"] == 1
    assert made["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    assert made["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert objects(card_service())["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]


@EVERY
def test_selectors_find_the_pods_they_are_for(name: str) -> None:
    made = objects(EVERY_SERVICE[name]())
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        made["Deployment"]["spec"]["selector"]["matchLabels"],
        made["Service"]["spec"]["selector"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    ports = {port["name"] for port in made["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert made["Service"]["spec"]["ports"][0]["targetPort"] in ports
    assert made["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"] in ports


def test_only_labelled_pods_reach_it_and_it_reaches_names_and_https_alone() -> None:
    spec = objects(cpu_service())["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"may-use-model": cpu_service().name}}}]
    assert sorted(port["port"] for rule in spec["egress"] for port in rule["ports"]) == [53, 53, 443]


def test_ray_runs_vllm_by_its_own_application() -> None:
    (made,) = yaml.safe_load(configuration(card_service()))["applications"]
    assert made["import_path"] == "ray.serve.llm:build_openai_app"
    (config,) = made["args"]["llm_configs"]
    assert config["accelerator_type"] == "H100"
    assert config["engine_kwargs"]["tensor_parallel_size"] == 2
    assert config["deployment_config"]["autoscaling_config"]["max_replicas"] == 3


def test_ray_runs_this_engine_by_the_application_beside_it() -> None:
    (made,) = yaml.safe_load(configuration(cpu_service()))["applications"]
    module, _, attribute = made["import_path"].partition(":")
    files = files_of(cpu_service(), ["ray"])
    names = [node.targets[0].id for node in ast.parse(files[f"{module}.py"]).body if isinstance(node, ast.Assign)]  # pyright: ignore
    assert attribute in names
    assert made["deployments"][0]["ray_actor_options"]["num_cpus"] == 64


def test_vllm_is_not_for_cpus() -> None:
    with pytest.raises(InvalidParameter, match="--vllm is for options on cards"):
        files_of(cpu_service(), ["vllm"])


def test_a_checkpoint_nobody_knows_must_be_named() -> None:
    place = replace(ON_CARDS, format="nvfp4")
    with pytest.raises(InvalidParameter, match="name one with --model ORG/REPO"):
        service_of("x", place, Choices())
    named = service_of("x", place, Choices(model="someone/model-awq"))
    assert "someone/model-awq" in named.command
    assert not named.gated


@pytest.mark.parametrize(
    "choices",
    [
        Choices(model="x; rm -rf /"),
        Choices(model="-h"),
        Choices(image="$(id)"),
        Choices(cpus=0),
        Choices(max_machines=0),
        Choices(max_machines=10**9),
    ],
)
def test_senseless_choices_are_refused(choices: Choices) -> None:
    with pytest.raises(InvalidParameter):
        service_of("x", ON_CPU, choices)


def test_fewer_machines_than_the_mean_load_needs_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="the mean load alone needs 3"):
        service_of("x", replace(ON_CARDS, mean_requests_per_s=2.5), Choices(max_machines=2))


def test_a_label_cannot_break_out_of_a_comment_or_a_string() -> None:
    service = replace(cpu_service(), title='a"""\\n b')
    ast.parse(application(service))
    assert objects(service)["Deployment"]["kind"] == "Deployment"


def test_yaml_keeps_what_it_is_given() -> None:
    value = {
        "yes": "no",
        "time": "12:30",
        "octal": "0777",
        "null": "~",
        "list": [1, 2.5, True, None, "a: b # c", "- x"],
    }
    assert yaml.safe_load(yaml_text(value, comments=("a comment",))) == value
    assert list(yaml.safe_load_all(yaml_text(value, value))) == [value, value]


def document(**row: object) -> str:
    """A plan of two options: one that is bought, and one on a CPU, changed by `row`."""
    made = {"label": "one", "kind": "have", "place": asdict(ON_CPU), "parts": [], **row}
    return json.dumps({"options": [{"label": "bought", "kind": "api", "place": None, "parts": []}, made]})


def test_a_plan_comes_back_as_it_went() -> None:
    assert place_in_plan(document(), "2", "plan.json") == ("one", ON_CPU)
    hybrid = document(place=None, kind="hybrid", parts=[{"label": "part", "place": asdict(ON_CARDS)}])
    assert place_in_plan(hybrid, "2.1", "plan.json") == ("part", ON_CARDS)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("1", "option 1 is bought: clients talk to .* nothing to set up; on hardware: 2"),
        ("3", "there is no option '3'; there are 2; on hardware: 2"),
        ("0", "there is no option '0'"),
        ("-1", "there is no option '-1'"),
        ("x", "there is no option 'x'"),
        ("2.1", "option 2 has no parts"),
    ],
)
def test_options_that_cannot_be_set_up_are_refused_with_those_that_can(option: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        place_in_plan(document(), option, "plan.json")


def test_a_hybrid_is_set_up_part_by_part() -> None:
    hybrid = document(kind="hybrid", place=None, parts=[{"label": "part", "place": asdict(ON_CARDS)}] * 2)
    with pytest.raises(InvalidParameter, match=r"name a part of it that is on hardware: 2\.1, 2\.2"):
        place_in_plan(hybrid, "2", "plan.json")


def test_a_hybrid_of_apis_alone_says_that_nothing_is_to_be_set_up() -> None:
    bought = document(kind="hybrid", label="Hybrid", place=None, parts=[{"label": "a", "kind": "api", "place": None}])
    with pytest.raises(InvalidParameter, match=r"option 2 is made of APIs alone, Hybrid: .* nothing to set up"):
        place_in_plan(bought, "2", "plan.json")


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028", "\x0b", "\x00", "\x1b[2J"])
def test_a_label_cannot_leave_the_comments_it_stands_in(end: str) -> None:
    made_up = document(label=f"x{end}rm -rf /tmp/victim")
    label, place = place_in_plan(made_up, "2", "plan.json")
    assert label.isprintable()
    for service in (service_of(label, place, Choices()), service_of(label, ON_CARDS, Choices())):
        targets = [target for target in TARGETS if target != "vllm" or service.engine == "vllm"]
        for name, text in files_of(service, targets).items():
            if not name.endswith((".md", ".py")):
                assert all(line.startswith("#") for line in text.splitlines() if "victim" in line)


def test_hardware_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidParameter, match="no hardware 'h101'; nearest: h100"):
        place_in_plan(document(place={**asdict(ON_CARDS), "hardware": "h101"}), "2", "plan.json")
    # The machine at hand, which --here weighs, is in no table.
    label, place = place_in_plan(document(place={**asdict(ON_CPU), "hardware": "cpu"}), "2", "plan.json")
    assert (label, place.hardware) == ("one", "cpu")


def test_who_quantised_the_weights_is_said() -> None:
    assert "quantised by RedHatAI, not by the model's makers" in " ".join(card_service().notes)
    assert "quantised by bartowski" in " ".join(cpu_service().notes)
    assert "quantised" not in " ".join(card_service(format="bf16").notes)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"options": 3}', '{"options": [3]}', "[" * 100_000, '{"options": [{"place": 3}]}'],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(FileFormatError):
        place_in_plan(text, "1", "plan.json")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"batch": 0}, FileFormatError),
        ({"batch": 2.5}, FileFormatError),
        ({"batch": True}, FileFormatError),
        ({"batch": "8"}, FileFormatError),
        ({"context": 1 << 40}, FileFormatError),
        ({"kv_bytes": float("nan")}, FileFormatError),
        ({"weights_bytes": -1}, FileFormatError),
        ({"requests_per_s": 0}, FileFormatError),
        ({"hardware": "x\n- evil"}, FileFormatError),
        ({"hardware_kind": "tpu"}, FileFormatError),
        ({"model": "nobody"}, InvalidParameter),
        ({"format": "q9"}, InvalidParameter),
        ({"format": None}, FileFormatError),
    ],
)
def test_damaged_places_are_refused(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        place_in_plan(document(place={**asdict(ON_CPU), **change}), "2", "plan.json")


def test_a_place_that_lacks_a_field_is_refused_by_its_name() -> None:
    place = asdict(ON_CPU)
    del place["kv_bytes"]
    with pytest.raises(FileFormatError, match="lacks kv_bytes"):
        place_in_plan(document(place=place), "2", "plan.json")


def test_files_that_are_there_stay_unless_forced(tmp_path: Path) -> None:
    files = files_of(cpu_service(), [target for target in TARGETS if target != "vllm"])
    write_files(tmp_path / "new", files, force=False)
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(files)
    (tmp_path / "new" / "compose.yaml").write_text("mine")
    with pytest.raises(InvalidParameter, match="--force"):
        write_files(tmp_path / "new", files, force=False)
    assert (tmp_path / "new" / "compose.yaml").read_text() == "mine"
    write_files(tmp_path / "new", files, force=True)
    assert (tmp_path / "new" / "compose.yaml").read_text() == files["compose.yaml"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidParameter, match="cannot be written"):
        write_files(tmp_path / "file" / "below", {"a": "b"}, force=False)
