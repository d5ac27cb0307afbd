"""`wayra plan --web`: starts the planner's page on this machine, says where it is and shows it."""

import sys
import webbrowser
from collections.abc import Callable, Mapping
from datetime import date

from click.exceptions import Exit

from wayra.base.settings import from_environment
from wayra.cli.output import emit, print_line
from wayra.plan.market import Market


def serve_page(
    start: Mapping[str, object] | None, market_on: Callable[[date], Market], port: int, no_open: bool, as_json: bool
) -> None:
    """Serve until Ctrl-C. Raises WayraError for whatever is wrong in the flags, InvalidParameter for a taken port."""
    from datetime import UTC, datetime

    from wayra.server.journal import Journal
    from wayra.server.planner.alone import serve_planner
    from wayra.server.planner.desk import Here, PlannerDesk
    from wayra.server.planner.planning import Planning
    from wayra.server.settings import ServerSettings

    # What is wrong with prices and scores is said now, not on the page.
    market_on(datetime.now(tz=UTC).date())
    shows = not no_open and not as_json and sys.stdout.isatty() and from_environment().has_display

    def ready(url: str) -> None:
        def for_people() -> None:
            print_line(f"The planner's page is at {url}")
            print_line("  Ctrl-C ends it")

        emit({"url": url}, as_json, for_people)
        sys.stdout.flush()
        if shows:
            webbrowser.open(url)

    settings = ServerSettings(port=port, drain_s=2)
    code = serve_planner(PlannerDesk(Here(Planning(market_on, start))), settings, Journal("warning", "text"), ready)
    if code:
        raise Exit(code)
