"""Prometheus' text format: cumulative buckets, escaped labels, whole numbers."""

from wayra.engine.metrics import EngineMetrics
from wayra.server.metrics import Histogram, RequestMetrics, engine_lines, sample


def test_buckets_are_cumulative_and_a_value_on_a_border_belongs_below() -> None:
    histogram = Histogram((0.1, 1.0, 5.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.add(value)
    assert list(histogram.samples("x", {"m": "a"})) == [
        'x_bucket{m="a",le="0.1"} 2',
        'x_bucket{m="a",le="1"} 3',
        'x_bucket{m="a",le="5"} 3',
        'x_bucket{m="a",le="+Inf"} 4',
        'x_sum{m="a"} 7.65',
        'x_count{m="a"} 4',
    ]


def test_labels_are_escaped() -> None:
    assert sample("x", 1, {"m": 'a"b\\c\nd'}) == 'x{m="a\\"b\\\\c\\nd"} 1'


def test_requests_accepted_but_not_yet_known_to_the_engine_are_waiting() -> None:
    metrics = EngineMetrics(
        running=2, waiting=3, paused=0, kv_blocks=10, kv_blocks_used=5, kv_blocks_cached=0, requests=9,
        failed_requests=0, cancelled_requests=1, prompt_tokens=100, cached_prompt_tokens=40, generated_tokens=7,
        steps=6,
    )  # fmt: skip
    lines = list(engine_lines(metrics, 4, {"model_name": "m"}))
    assert 'vllm:num_requests_waiting{model_name="m"} 7' in lines
    assert 'vllm:kv_cache_usage_perc{model_name="m"} 0.5' in lines
    assert 'vllm:prefix_cache_hits_total{model_name="m"} 40' in lines


def test_every_sample_follows_the_type_of_its_family() -> None:
    metrics = RequestMetrics()
    metrics.admitted(0.1)
    metrics.first_token(0.2)
    metrics.ended("stop")
    families: set[str] = set()
    for line in metrics.lines({"model_name": "m"}):
        if line.startswith("# TYPE "):
            families.add(line.split()[2])
        elif not line.startswith("#"):
            name = line.partition("{")[0]
            assert any(name == f or name.removeprefix(f) in ("_bucket", "_sum", "_count") for f in families), line
