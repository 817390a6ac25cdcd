from pathlib import Path

import httpx
import pytest

from data.errors import SettingsError
from serve.settings import load_settings
from serve.watch.api.watch_server import running_server
from serve.watch.watch_store import open_watch_store
from tests.support.watch_events import store_settings
from tests.support.watch_server import FakeCameras


@pytest.mark.slow
def test_it_serves_the_page_and_no_images_and_ends_with_the_block(tmp_path: Path) -> None:
    store = open_watch_store(store_settings(tmp_path), {})
    settings = load_settings(port=0)
    with running_server(settings, store, FakeCameras()) as address:
        assert "Events of cameras" in httpx.get(f"{address}/").text
        assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
        assert httpx.post(f"{address}/detect").status_code == 404
        assert "Events of cameras" in httpx.get(f"{address}/openapi.json").json()["info"]["description"]
        taken = load_settings(port=int(address.rpartition(":")[2]))
        with (
            pytest.raises(SettingsError, match=r"is taken.*with `port` of the section `server`"),
            running_server(taken, store, FakeCameras()),
        ):
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/readyz")
    store.close()
