"""Ray's own classes read the configurations, and its own schema knows every key of them; needs wayra[oracle].

Ray takes unknown keys in silence. So its schema is asked for from the installed package and made strict before it is
compared. What vLLM makes of `engine_kwargs` is not checked here: it would have to be installed.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from deployments import EVERY_SERVICE, ON_CARDS, card_service, cpu_service

from wayra.plan.deploy.ray_serve import ACCELERATORS, APPLICATION, application, configuration
from wayra.plan.deploy.service import Choices, service_of
from wayra.plan.hardware import hardware

# Ray's classes are declared in a way that pydantic calls old.
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
EVERY = pytest.mark.parametrize("name", EVERY_SERVICE)


def document_of(name: str) -> dict[str, Any]:
    return yaml.safe_load(configuration(EVERY_SERVICE[name]()))


def strict_schema() -> dict[str, Any]:
    """What Ray says of its configuration file, with every object closed and no way around the autoscaler's schema."""
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_json_schema()
    autoscaling = schema["$defs"]["DeploymentSchema"]["properties"]["autoscaling_config"]
    autoscaling["anyOf"] = [one for one in autoscaling["anyOf"] if one.get("type") != "object"]
    assert {"$ref": "#/$defs/AutoscalingConfig"} in autoscaling["anyOf"]
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:
            part["additionalProperties"] = False
    return schema


@EVERY
def test_ray_reads_the_configuration_as_it_is_meant(name: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    written = document_of(name)
    (found,) = ServeDeploySchema(**written).applications
    assert found.route_prefix == "/"
    assert found.import_path == written["applications"][0]["import_path"]


@EVERY
def test_rays_schema_knows_every_key(name: str) -> None:
    jsonschema.validate(document_of(name), strict_schema())


@pytest.mark.parametrize("where", ["", "applications", "deployments", "autoscaling_config", "ray_actor_options"])
def test_the_schema_refuses_an_unknown_key_at_every_depth(where: str) -> None:
    document = document_of("four CPUs")
    application_of = document["applications"][0]
    deployment = application_of["deployments"][0]
    places: Mapping[str, dict[str, Any]] = {
        "": document,
        "applications": application_of,
        "deployments": deployment,
        "autoscaling_config": deployment["autoscaling_config"],
        "ray_actor_options": deployment["ray_actor_options"],
    }
    places[where]["unheard_of"] = 1
    with pytest.raises(jsonschema.ValidationError, match="unheard_of"):
        jsonschema.validate(document, strict_schema())


def llm_config(document: Mapping[str, Any]) -> Any:
    """Ray's configuration of a language model, whose class refuses unknown keys by itself."""
    from ray.llm._internal.serve.core.configs.llm_config import LLMConfig

    (written,) = document["applications"][0]["args"]["llm_configs"]
    return LLMConfig.model_validate(written)


def test_ray_reads_the_configuration_of_the_language_model() -> None:
    service = card_service()
    found = llm_config(document_of("cards"))
    assert found.model_loading_config.model_source == service.model
    assert found.accelerator_type == "H100"
    assert found.max_request_context_length == service.context
    deployment = document_of("cards")["applications"][0]["args"]["llm_configs"][0]["deployment_config"]
    definitions = strict_schema()["$defs"]
    jsonschema.validate(deployment, {**definitions["DeploymentSchema"], "required": [], "$defs": definitions})


def test_ray_refuses_a_language_model_with_an_unknown_key() -> None:
    document = document_of("cards")
    document["applications"][0]["args"]["llm_configs"][0]["unheard_of"] = 1
    with pytest.raises(ValueError, match="unheard_of"):
        llm_config(document)


@pytest.mark.parametrize("card", ACCELERATORS)
def test_ray_knows_every_accelerator_by_the_name_it_is_given(card: str) -> None:
    assert hardware(card).name == card
    document = yaml.safe_load(configuration(card_service(hardware=card)))
    assert llm_config(document).accelerator_type == ACCELERATORS[card]


def test_weights_that_are_quantised_while_they_load_are_configured_too() -> None:
    service = service_of("x", ON_CARDS, Choices(model="meta-llama/Llama-3.1-70B-Instruct"))
    assert llm_config(yaml.safe_load(configuration(service))).engine_kwargs["quantization"] == "fp8"


def test_the_application_that_the_configuration_names_is_one_of_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import serve

    (tmp_path / f"{APPLICATION}.py").write_text(application(cpu_service()), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, APPLICATION, raising=False)
    module, _, name = document_of("one CPU")["applications"][0]["import_path"].partition(":")
    imported = __import__(module)
    assert isinstance(getattr(imported, name), serve.Application)
    assert imported.Engine.name == document_of("one CPU")["applications"][0]["deployments"][0]["name"]


def test_the_builder_that_the_configuration_names_is_there() -> None:
    import ray

    module, _, name = document_of("cards")["applications"][0]["import_path"].partition(":")
    # Importing it needs vLLM.
    source = Path(ray.__file__).parent.joinpath(*module.split(".")[1:], "__init__.py").read_text("utf-8")
    assert f"\ndef {name}(llm_serving_args: dict)" in source
