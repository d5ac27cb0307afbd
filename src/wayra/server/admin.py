"""What operators and programs ask of the server itself: health, readiness, metrics."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from wayra.base.errors import BackendError
from wayra.server.errors import ApiError
from wayra.server.metrics import CONTENT_TYPE, by_family, engine_lines, loading_lines
from wayra.server.service import Service


class AdminRoutes:
    """The endpoints, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, request: Request) -> Response:
        """200 after a real step of the engine; 503 when none comes in time."""
        try:
            await self._service.check_health()
        except BackendError as error:
            raise ApiError(503, str(error), code="unhealthy") from error
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """200 while requests are accepted."""
        if not self._service.is_ready:
            raise ApiError(503, "the server accepts no requests now", code="not_ready")
        return PlainTextResponse("ready\n")

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        parts: list[list[str]] = []
        for offer in self._service.offers:
            labels = {"model_name": offer.name}
            lines = [*engine_lines(offer.engine_metrics, self._service.num_queued(offer), labels)]
            lines += offer.metrics.lines(labels)
            parts.append(
                [*lines, *loading_lines(offer.model is not None, offer.num_loads, offer.num_failed_loads, labels)]
            )
        return PlainTextResponse("\n".join(by_family(parts)) + "\n", media_type=CONTENT_TYPE)
