"""Fixtures of the integration tests."""

from pathlib import Path

import pytest

from tests.support.wheel import install_wheel


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the installed wheel, a `site-packages` of its own."""
    return install_wheel(tmp_path_factory.mktemp("wheel"))
