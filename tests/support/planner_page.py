"""The planner's page as tests use it: opened, planned, and read."""

import base64
import json
import re
from typing import Any


def fragment_of(tables: dict[str, Any]) -> str:
    """A workload as the address holds it."""
    return base64.urlsafe_b64encode(json.dumps(tables).encode()).decode().rstrip("=")


class PlannerPage:
    """The page, opened and planned. page: playwright's; base: what checks complaints in the end."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.page = base.page

    def open(self, fragment: str = "") -> "PlannerPage":
        self.page.goto(f"{self.base.url}/plan{fragment}")
        return self.wait()

    def wait(self) -> "PlannerPage":
        """Until the newest workload is planned and looked at."""
        # A change waits a moment for more of them before it is sent.
        self.page.wait_for_timeout(120)
        self.page.locator("#answer[aria-busy=false] section.best").wait_for()
        self.page.locator(".closer[aria-busy=false]").wait_for()
        return self

    @property
    def price(self) -> str:
        return self.page.locator(".best .price .num").inner_text()

    @property
    def best(self) -> str:
        return self.page.locator(".best h2").inner_text()

    @property
    def tables(self) -> Any:
        """The workload as the address holds it."""
        script = "tables => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(tables), c => c.charCodeAt(0))))"
        fragment = self.page.url.partition("#")[2].replace("-", "+").replace("_", "/")
        return self.page.evaluate(script, fragment + "=" * (-len(fragment) % 4))

    def scenario(self, name: str) -> "PlannerPage":
        self.page.get_by_label("Scenario").select_option(name)
        return self.wait()

    def explain(self, name: str) -> Any:
        """The dialog that a number of the best option opens."""
        self.page.locator(".best").get_by_role("button", name=re.compile(f"^{re.escape(name)}: ")).click()
        return self.page.get_by_role("dialog", name=name)
