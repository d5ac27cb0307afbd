"""The table of routes, behind the door."""

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from wayra.server.admin import AdminRoutes
from wayra.server.anthropic.messages import MessagesRoutes
from wayra.server.door import Door
from wayra.server.journal import Journal
from wayra.server.ollama.embed import EmbedRoute
from wayra.server.ollama.models import ModelRoutes as OllamaModelRoutes
from wayra.server.ollama.texts import TextRoutes
from wayra.server.openai.chat import ChatRoute
from wayra.server.openai.completions import CompletionsRoute
from wayra.server.openai.embeddings import EmbeddingsRoute
from wayra.server.openai.models import ModelRoutes
from wayra.server.openai.responses.route import ResponsesRoutes
from wayra.server.openai.tokenizer_info import TokenizerInfoRoute
from wayra.server.openapi import OpenApiRoute
from wayra.server.page import PageRoute
from wayra.server.planner.routes import PlannerRoutes
from wayra.server.service import Service
from wayra.server.settings import ServerSettings
from wayra.server.tracing import Tracing


def make_app(service: Service, journal: Journal, tracing: Tracing | None = None) -> ASGIApp:
    """The ASGI application of a service."""
    return behind_door(Router(routes_of(service), redirect_slashes=False), service.settings, journal, tracing)


def behind_door(router: Router, settings: ServerSettings, journal: Journal, tracing: Tracing | None = None) -> ASGIApp:
    """Routes as an application that refuses what the door does."""
    return Door(_Raising(router), settings, journal, tracing)


def routes_of(service: Service) -> list[Route]:
    """Everything a service answers, by path. `openapi.OPERATIONS` describes the same."""
    chat, completions = ChatRoute(service), CompletionsRoute(service)
    messages, texts, ollama = MessagesRoutes(service), TextRoutes(service), OllamaModelRoutes(service)
    models, admin, responses = ModelRoutes(service), AdminRoutes(service), ResponsesRoutes(service)
    document = OpenApiRoute(bool(service.settings.api_keys))
    planner = PlannerRoutes(service.planner, service.settings, with_chat=True)
    return [
        Route("/", PageRoute().answer, methods=["GET"]),
        Route("/v1/chat/completions", chat.answer, methods=["POST"]),
        Route("/v1/completions", completions.answer, methods=["POST"]),
        Route("/v1/embeddings", EmbeddingsRoute(service).answer, methods=["POST"]),
        Route("/v1/responses", responses.answer, methods=["POST"]),
        Route("/v1/responses/input_tokens", responses.count, methods=["POST"]),
        Route("/v1/messages", messages.answer, methods=["POST"]),
        Route("/v1/messages/count_tokens", messages.count, methods=["POST"]),
        Route("/v1/models", models.models, methods=["GET"]),
        Route("/v1/models/{name:path}", models.model, methods=["GET"]),
        Route("/api/chat", texts.chat, methods=["POST"]),
        Route("/api/generate", texts.generate, methods=["POST"]),
        Route("/api/embed", EmbedRoute(service).answer, methods=["POST"]),
        Route("/api/tags", ollama.tags, methods=["GET"]),
        Route("/api/ps", ollama.ps, methods=["GET"]),
        Route("/api/show", ollama.show, methods=["POST"]),
        Route("/api/version", ollama.version, methods=["GET"]),
        Route("/tokenize", models.tokenize, methods=["POST"]),
        Route("/detokenize", models.detokenize, methods=["POST"]),
        Route("/tokenizer_info", TokenizerInfoRoute(service).answer, methods=["GET"]),
        Route("/health", admin.health, methods=["GET"]),
        Route("/ready", admin.ready, methods=["GET"]),
        Route("/metrics", admin.metrics, methods=["GET"]),
        Route("/openapi.json", document.answer, methods=["GET"]),
        *planner.routes(),
    ]


class _Raising:
    """Makes the router raise for what it does not know, instead of answering in a shape of its own."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._router(scope, receive, send)
