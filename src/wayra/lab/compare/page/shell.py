"""The frame of a page: one document with its style inside, which fetches nothing and runs nothing."""

import base64
import hashlib
from html import escape
from importlib.resources import files


def document(title: str, header: str, content: str) -> str:
    """title is text; header and content are markup."""
    style = files("wayra.lab.compare.page").joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        # Whatever a model's name holds, nothing of it is fetched or run.
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header>{header}</header><main>{content}</main>"
        '<footer class="soft">Made by wayra. Intervals are of 95 %.</footer></body></html>\n'
    )
