"""Prometheus metrics of the service, as served at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Metrics of one application. Label values come from the service's own lists, never from a client's input."""

    def __init__(self) -> None:
        """Register all metrics, at zero."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "pelee_requests", "Responses, and frames of /ws.", ["endpoint", "model", "status"], registry=registry
        )
        self.seconds = Histogram(
            "pelee_request_seconds",
            "Time from a request's header to the end of its response.",
            ["endpoint"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.stages = Histogram(
            "pelee_stage_seconds",
            "Time of an image in a stage: decode, queue, network, postprocess.",
            ["stage", "model"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.batches = Histogram(
            "pelee_batch_pictures", "Images in a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.queue = Gauge("pelee_queue_depth", "Images in progress, from decoding to response.", registry=registry)
        self.refused = Counter(
            "pelee_refused", "Rejected requests: busy, not_ready, ...", ["reason", "model"], registry=registry
        )
        self.dropped = Counter(
            "pelee_dropped",
            "Requests dropped after admission: deadline, disconnect.",
            ["reason", "model"],
            registry=registry,
        )
        self.cut_off = Counter(
            "pelee_connections_cut_off", "Connections closed: slow, unread, too_many.", ["reason"], registry=registry
        )
        self.restarts = Counter("pelee_inference_restarts", "Restarts of the inference thread.", registry=registry)
        self.reloads = Counter("pelee_model_reloads", "Reloads of a model.", ["model", "result"], registry=registry)
        self.websockets = Gauge("pelee_websockets", "Open WebSockets.", registry=registry)

    def text(self) -> tuple[bytes, str]:
        """Return all metrics as text, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
