"""Embeddings over the wire: with the official clients, in every form of input, and refused by name."""

import base64
from typing import Any

import numpy as np
import pytest
from live_server import LiveServer

TEXTS = ["The cat sat on the mat.", "A dog lay on the rug.", "Interest rates rose by half a percent."]


def embed(server: LiveServer, given: object, **fields: Any) -> np.ndarray:
    answer = server.post("/v1/embeddings", {"input": given, **fields})
    assert answer.status == 200, answer.body
    assert [entry["index"] for entry in answer.json["data"]] == list(range(len(answer.json["data"])))
    return np.array([entry["embedding"] for entry in answer.json["data"]], np.float32)


def test_vectors_have_length_one_and_are_close_for_like_texts(real_server: LiveServer) -> None:
    vectors = embed(real_server, TEXTS)
    assert vectors.shape == (3, 576)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_texts_ids_and_lists_of_them_are_the_same(server: LiveServer) -> None:
    ids = [server.post("/tokenize", {"prompt": text}).json["tokens"] for text in TEXTS]
    together = embed(server, TEXTS)
    np.testing.assert_array_equal(together, embed(server, ids))
    np.testing.assert_array_equal(together[:1], embed(server, TEXTS[0]))
    np.testing.assert_array_equal(together[1:2], embed(server, ids[1]))
    assert np.abs(together - embed(server, TEXTS, pooling="last")).max() > 0.01


def test_base64_holds_the_same_floats(server: LiveServer) -> None:
    (entry,) = server.post("/v1/embeddings", {"input": TEXTS[0], "encoding_format": "base64"}).json["data"]
    found = np.frombuffer(base64.b64decode(entry["embedding"]), "<f4")
    np.testing.assert_array_equal(found, embed(server, TEXTS[0])[0])


def test_many_inputs_are_answered_in_order(server: LiveServer) -> None:
    texts = [f"Text number {i}" for i in range(200)]
    vectors = embed(server, texts)
    for i in (0, 17, 199):
        np.testing.assert_array_equal(vectors[i], embed(server, texts[i])[0])


def test_openais_client_reads_them(server: LiveServer) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        found = client.embeddings.create(model=client.models.list().data[0].id, input=TEXTS)
    np.testing.assert_array_equal(np.array([e.embedding for e in found.data], np.float32), embed(server, TEXTS))
    assert found.usage.prompt_tokens == sum(server.post("/tokenize", {"prompt": text}).json["count"] for text in TEXTS)


def test_ollamas_client_reads_them(server: LiveServer) -> None:
    ollama = pytest.importorskip("ollama")
    with ollama.Client(host=server.url) as client:
        model = client.list().models[0].model
        found = client.embed(model=model, input=TEXTS)
        np.testing.assert_array_equal(np.array(found.embeddings, np.float32), embed(server, TEXTS))
        assert len(client.embed(model=model, input="word " * 6000).embeddings) == 1
        with pytest.raises(ollama.ResponseError, match="limit is 4,096"):
            client.embed(model=model, input="word " * 6000, truncate=False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"dimensions": 64}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"pooling": "max"}, "pooling"),
        ({"input": []}, "input"),
        ({"input": ["x", 3]}, "input"),
        ({"input": ["x"] * 2000}, "input"),
        ({"input": ""}, "input"),
        ({"input": [10**9]}, "input"),
        ({"input": [5] * 5000}, None),
        ({"frobnicate": 1}, "frobnicate"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(server: LiveServer, fields: dict[str, Any], param: str | None) -> None:
    answer = server.post("/v1/embeddings", {"input": "x", **fields})
    assert answer.status == 400, answer.body
    if param is not None:
        assert answer.error["param"] == param
