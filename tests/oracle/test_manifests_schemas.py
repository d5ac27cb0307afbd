"""Manifests against the public schemas of Kubernetes and Compose; needs wayra[oracle] (-m oracle)."""

import pytest
import yaml
from deployments import EVERY_SERVICE

from wayra.plan.deploy.containers import compose
from wayra.plan.deploy.kubernetes import manifests

pytestmark = pytest.mark.oracle
EVERY = pytest.mark.parametrize("name", EVERY_SERVICE)


@EVERY
@pytest.mark.parametrize("version", ["1.27", "1.33", "1.36"])
def test_kubernetes_objects_follow_their_schemas(name: str, version: str) -> None:
    import kubernetes_validate

    for document in yaml.safe_load_all(manifests(EVERY_SERVICE[name]())):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_an_unknown_field() -> None:
    import kubernetes_validate

    document = next(yaml.safe_load_all(manifests(EVERY_SERVICE["cards"]())))
    document["spec"]["unheard_of"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.33", strict=True)


@EVERY
def test_compose_files_follow_the_specification(name: str) -> None:
    import compose_spec

    text = compose(EVERY_SERVICE[name]())
    found = compose_spec.PyCompose.from_yaml(text)
    found.validate()
    with pytest.raises(ValueError, match="unheard_of"):
        compose_spec.PyCompose.from_yaml(text.replace("read_only:", "unheard_of:"))
