from pathlib import Path

from prometheus_client import CollectorRegistry

from serve.watch.api.watch_metrics import WatchMetrics
from serve.watch.watch_store import open_watch_store
from tests.support.watch_events import ended, make_event, store_settings, wait_until, write_files


def test_gauges_follow_the_database(tmp_path: Path) -> None:
    store = open_watch_store(store_settings(tmp_path, json_lines=tmp_path / "events.jsonl"), {})
    registry = CollectorRegistry()
    metrics = WatchMetrics(store, registry)

    def value(name: str, **labels: str) -> float | None:
        metrics.refresh()
        return registry.get_sample_value(f"pelee_watch_{name}", labels)

    assert value("events") == 0 and value("deliveries", destination="json_lines", state="given_up") == 0
    write_files(tmp_path, make_event(1))
    store.finish(ended(make_event(1)))
    store.begin(make_event(2))
    wait_until(lambda: value("deliveries", destination="json_lines", state="delivered") == 1)
    assert (value("events"), value("open_events"), value("file_bytes"), value("waiting")) == (2, 1, 1100, 0)
    store.close()
