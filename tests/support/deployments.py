"""Places of a plan to make manifests of, for the tests of their contents and those against public schemas."""

from dataclasses import replace

from wayra.plan.deploy.service import Choices, Service, service_of
from wayra.plan.options import Place

ON_CPU = Place(
    model="llama-3.2-1b",
    format="q8_0",
    hardware="server-zen4",
    hardware_kind="cpu",
    gpus=1,
    machines=1,
    cores=64,
    batch=8,
    context=4096,
    weights_bytes=1.313e9,
    kv_bytes=0.262e9,
    runtime_bytes=0.09e9,
    requests_per_s=2.0,
    mean_requests_per_s=0.5,
)
ON_CARDS = Place(
    model="llama-3.1-70b",
    format="fp8",
    hardware="h100-sxm",
    hardware_kind="gpu",
    gpus=2,
    machines=3,
    cores=0,
    batch=32,
    context=32_768,
    weights_bytes=72.7e9,
    kv_bytes=40e9,
    runtime_bytes=4e9,
    requests_per_s=1.0,
    mean_requests_per_s=0.7,
)


def cpu_service(**changes: object) -> Service:
    """`changes` are of the place."""
    return service_of("on a CPU", replace(ON_CPU, **changes), Choices())  # pyright: ignore[reportArgumentType]


def card_service(**changes: object) -> Service:
    """`changes` are of the place."""
    return service_of("on cards", replace(ON_CARDS, **changes), Choices())  # pyright: ignore[reportArgumentType]


def scaled_cpu_service() -> Service:
    return cpu_service(machines=4)


EVERY_SERVICE = {"one CPU": cpu_service, "four CPUs": scaled_cpu_service, "cards": card_service}
