"""`wayra plan --web`: the planner's page on a server of its own, without any model."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from wayra.server.app import behind_door
from wayra.server.journal import Journal
from wayra.server.planner.desk import PlannerDesk
from wayra.server.planner.routes import PlannerRoutes
from wayra.server.run import serve_app
from wayra.server.settings import ServerSettings
from wayra.server.tracing import Tracing


class PlannerAlone:
    """What the server's process starts and ends. is_draining: nobody new is let in."""

    def __init__(self, desk: PlannerDesk, settings: ServerSettings) -> None:
        self.settings = settings
        self.desk = desk
        self.is_draining = False

    def start(self) -> None:
        """Nothing computes before it is asked to."""

    def close(self) -> None:
        self.desk.close()


def serve_planner(
    desk: PlannerDesk, settings: ServerSettings, journal: Journal, on_ready: Callable[[str], None]
) -> int:
    """Serve until a signal; the exit code. on_ready: told the page's URL. Raises InvalidParameter."""
    alone = PlannerAlone(desk, settings)
    return serve_app(lambda _: alone, _app, settings, journal, lambda _, url: on_ready(f"{url}/plan"))


def _app(alone: PlannerAlone, journal: Journal, tracing: Tracing | None) -> ASGIApp:
    async def to_page(_request: Request) -> Response:
        return RedirectResponse("/plan", 307)

    planner = PlannerRoutes(alone.desk, alone.settings, with_chat=False)
    router = Router([Route("/", to_page, methods=["GET"]), *planner.routes()], redirect_slashes=False)
    return behind_door(router, alone.settings, journal, tracing)
