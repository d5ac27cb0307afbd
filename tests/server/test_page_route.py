"""How the web page is sent: one document, compressed where that is taken, with a policy that names what is in it."""

import base64
import gzip
import hashlib
import re

import pytest
from live_server import LiveServer


def test_the_policy_names_the_one_script_and_the_one_style_by_digest(server: LiveServer) -> None:
    answer = server.get("/")
    policy, text = answer.headers["content-security-policy"], answer.body.decode()
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL)
        assert len(found) == 1, tag
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy


def test_the_document_needs_no_other(server: LiveServer) -> None:
    text = server.get("/").body.decode()
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)", text) == []
    assert "{{" not in text
    assert "@import" not in text
    assert "innerHTML" not in text


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip, deflate, br", True),
        ("GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("br, zstd", False),
        ("xgzip", False),
    ],
)
def test_it_is_compressed_for_clients_that_take_it(server: LiveServer, accepted: str, is_compressed: bool) -> None:
    plain = server.get("/")
    answer = server.get("/", Accept_Encoding=accepted)
    assert "content-encoding" not in plain.headers
    assert answer.headers.get("content-encoding") == ("gzip" if is_compressed else None)
    assert (gzip.decompress(answer.body) if is_compressed else answer.body) == plain.body
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (answer.headers["etag"] == plain.headers["etag"]) is not is_compressed


def test_a_browser_that_has_it_gets_no_body(server: LiveServer) -> None:
    for headers in ({}, {"Accept_Encoding": "gzip"}):
        tag = server.get("/", **headers).headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            answer = server.get("/", If_None_Match=known, **headers)
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
            assert "content-security-policy" in answer.headers
        assert server.get("/", If_None_Match='"other"', **headers).status == 200
