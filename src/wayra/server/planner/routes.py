"""The planner's page and what it asks: a plan of a workload, and one option's numbers with their reasons."""

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wayra.server.body import read_struct
from wayra.server.page import PageRoute, Sources
from wayra.server.planner.desk import PlannerDesk
from wayra.server.settings import ServerSettings

MAX_WORKLOAD_BYTES = 64 << 10
PAGE = Sources(
    page="planner/page/plan.html",
    styles=("page/base.css", "planner/page/frame.css", "planner/page/form.css", "planner/page/results.css"),
    scripts=(
        "page/dom.js",
        "planner/page/numbers.js",
        "planner/page/workload.js",
        "planner/page/desk.js",
        "planner/page/fields.js",
        "planner/page/form.js",
        "planner/page/explain.js",
        "planner/page/charts.js",
        "planner/page/results.js",
        "planner/page/main.js",
    ),
)

Tables = Annotated[dict[str, Any], Meta(description="The tables of a workload file", max_length=32)]


class WeighRequest(Struct, forbid_unknown_fields=True):
    """workload: what a workload file of `wayra plan` holds, as JSON."""

    workload: Tables


class ExplainRequest(Struct, forbid_unknown_fields=True):
    """option: an id of the plan's answer. batch: sequences at once, for what its machine does with so many."""

    workload: Tables
    option: Annotated[str, Meta(max_length=16)]
    batch: Annotated[int, Meta(ge=1, le=1 << 16)] | None = None


class PlannerRoutes:
    """The endpoints, over one desk. with_chat: whether the chat page is served beside."""

    def __init__(self, desk: PlannerDesk, settings: ServerSettings, *, with_chat: bool) -> None:
        self._desk = desk
        # A workload is small.
        self._limits = replace(settings, max_body_bytes=min(settings.max_body_bytes, MAX_WORKLOAD_BYTES))
        self._with_chat = with_chat
        self._weigh = msgspec.json.Decoder(WeighRequest)
        self._explain = msgspec.json.Decoder(ExplainRequest)

    def routes(self) -> list[Route]:
        return [
            Route("/plan", self.page, methods=["GET"]),
            Route("/plan/facts", self.facts, methods=["GET"]),
            Route("/plan/weigh", self.weigh, methods=["POST"]),
            Route("/plan/explain", self.explain, methods=["POST"]),
        ]

    @cached_property
    def _page(self) -> PageRoute:
        return PageRoute(PAGE, {"chat": "yes" if self._with_chat else "no"})

    async def page(self, request: Request) -> Response:
        """The document, put together when it is first asked for."""
        return await self._page.answer(request)

    async def facts(self, request: Request) -> Response:
        """What may be chosen from."""
        return _answer(await self._desk.facts())

    async def weigh(self, request: Request) -> Response:
        """A plan in values."""
        wire = await read_struct(request, self._weigh, self._limits)
        return _answer(await self._desk.weigh(wire.workload))

    async def explain(self, request: Request) -> Response:
        """One option with its reasons."""
        wire = await read_struct(request, self._explain, self._limits)
        return _answer(await self._desk.explain(wire.workload, wire.option, wire.batch))


def _answer(made: bytes) -> Response:
    return Response(made, media_type="application/json")
