"""Prometheus metrics: names and text format."""

from serve.observability.metrics import Metrics


def test_metrics_have_the_documented_names() -> None:
    metrics = Metrics()
    metrics.requests.labels("/detect", "fake", "200").inc()
    metrics.batches.labels("fake").observe(3)
    text, content_type = metrics.text()
    assert content_type.startswith("text/plain")
    assert b'pelee_requests_total{endpoint="/detect",model="fake",status="200"} 1.0' in text
    for name in (
        "requests", "request_seconds", "stage_seconds", "batch_pictures", "queue_depth", "refused", "dropped",
        "connections_cut_off", "inference_restarts", "model_reloads", "websockets",
    ):  # fmt: skip
        assert f"# TYPE pelee_{name}" in text.decode()


def test_two_applications_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.restarts.inc()
    assert second.registry.get_sample_value("pelee_inference_restarts_total") == 0
