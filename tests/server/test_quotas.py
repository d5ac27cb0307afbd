"""Limits of keys over HTTP, in each API's own words."""

import re
from pathlib import Path

from live_server import LiveServer, hang_up

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
FEW, ONE, FREE = "sk-few-requests", "sk-one-at-a-time", "sk-without-limits"


def test_one_key_at_its_limit_leaves_the_others_alone(smollm2_path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{FEW} requests=2\n{ONE} tokens=1\n{FREE}\n")
    with LiveServer(str(smollm2_path), "--backend", "null", "--api-key-file", str(keys)) as live:
        for key, allowed in ((FEW, 2), (ONE, 1)):
            statuses = [live.post("/v1/chat/completions", HELLO, X_Api_Key=key).status for _ in range(allowed)]
            assert statuses == [200] * allowed
            refused = live.post("/v1/chat/completions", HELLO, X_Api_Key=key)
            assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
            assert int(refused.headers["retry-after-ms"]) > 0
        anthropic = live.post("/v1/messages", {**HELLO, "model": ""}, X_Api_Key=FEW)
        assert (anthropic.status, anthropic.json["error"]["type"]) == (429, "rate_limit_error")
        assert live.post("/v1/chat/completions", HELLO, X_Api_Key=FREE).status == 200
        metrics = live.get("/metrics", X_Api_Key=FREE).body.decode()
        counted = dict(re.findall(r'requests_refused_total\{.*reason="(\w+)"\} (\d+)', metrics))
        assert counted == {"queue": "0", "key": "3"}


def test_counting_tokens_spends_requests_of_the_key_and_no_tokens(smollm2_path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{FEW} requests=5 tokens=20\n{ONE} tokens=1\n")
    chat = {"model": "", "messages": HELLO["messages"]}
    calls = (
        ("/tokenize", {"prompt": "Hello " * 100}),
        ("/tokenize", {**chat, "return_token_strs": True}),
        ("/detokenize", {"tokens": [1] * 100}),
        ("/v1/messages/count_tokens", chat),
        ("/v1/responses/input_tokens", {"input": "Hello"}),
    )
    with LiveServer(str(smollm2_path), "--backend", "null", "--api-key-file", str(keys)) as live:
        assert [live.post(path, body, X_Api_Key=FEW).status for path, body in calls] == [200] * 5
        for path, body in calls:
            refused = live.post(path, body, X_Api_Key=FEW)
            assert refused.status == 429
            assert refused.json["error"]["type"] in ("rate_limit_error", "rate_limit_exceeded")
            assert int(refused.headers["retry-after-ms"]) > 0
            assert int(refused.headers["retry-after"]) > 0
        assert live.post("/v1/chat/completions", HELLO, X_Api_Key=FEW).error["code"] == "rate_limit_exceeded"
        assert live.post("/v1/chat/completions", HELLO, X_Api_Key=ONE).status == 200
        assert live.post("/v1/chat/completions", HELLO, X_Api_Key=ONE).status == 429
        assert live.post("/tokenize", {"prompt": "Hello"}, X_Api_Key=ONE).status == 200


def test_a_client_that_leaves_gives_its_place_back(smollm2_path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{ONE} concurrent=1\n")
    with LiveServer(str(smollm2_path), "--backend", "null", "--api-key-file", str(keys)) as live:
        refused = live.post("/v1/chat/completions", {**HELLO, "n": 2}, X_Api_Key=ONE)
        assert (refused.status, refused.error["param"]) == (400, "n")
        body = b'{"messages":[{"role":"user","content":"Hi"}],"stream":true,"ignore_eos":true,"max_tokens":1000}'
        sock = live.connect()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {live.host}\r\nX-Api-Key: {ONE}\r\n"
        sock.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert sock.recv(1)
        hang_up(sock)
        assert live.settles(lambda: live.post("/v1/chat/completions", HELLO, X_Api_Key=ONE).status == 200)
