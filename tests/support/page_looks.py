"""What tests of pages share: a phone's screen, and what axe finds wrong with a page as it is."""

from typing import Any

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map((node) => node.html).join(" ")}`);
}"""


def axe_complaints(page: Any) -> list[str]:
    """Of playwright's page, as it is now."""
    from axe_playwright_python.base import AXE_FILE_PATH

    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(AXE)
    return found
