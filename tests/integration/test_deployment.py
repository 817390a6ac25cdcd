"""Container, compose file and systemd unit agree with the service, and pass the linters where these are installed."""

import re
import shutil
import subprocess

import pytest

from serve.settings import ENVIRONMENT_PREFIX, ServeSettings
from tests.support.paths import ROOT

UNIT = ROOT / "deploy" / "pelee.service"
FILES = ("Containerfile", "compose.yaml", "deploy/pelee.service")


@pytest.mark.parametrize("file", FILES)
def test_the_variables_are_settings(file):
    """The service does not start with an unknown variable."""
    text = (ROOT / file).read_text(encoding="utf-8")
    given = {name.lower() for name in re.findall(rf"\b{ENVIRONMENT_PREFIX}([A-Z_]+)", text)}
    assert given and given <= set(ServeSettings.__dataclass_fields__)


def test_the_limits_of_container_and_unit_are_equal():
    limits = [
        dict(re.findall(r"\b(PELEE_MAX_\w+)=(\d+)", (ROOT / file).read_text(encoding="utf-8")))
        for file in ("Containerfile", "deploy/pelee.service")
    ]
    assert limits[0] == limits[1] and len(limits[0]) == 3


def test_the_compose_file_restricts_the_service():
    import yaml

    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["pelee"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert (service["cpus"], service["mem_limit"]) == (2, "512m")
    container = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert service["healthcheck"]["test"][-1] in container and "/readyz" in container
    assert float(service["stop_grace_period"].removesuffix("s")) > ServeSettings().grace_s
    assert "USER 10001" in container


def test_the_build_gets_what_the_installation_needs():
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert sent == {"LICENSE", "README.md", "constraints.txt", "pyproject.toml"} | {
        "data",
        "detection",
        "pelee",
        "serve",
        "weights",
    }


def test_the_container_passes_its_linter():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, ROOT / "Containerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_unit_is_valid(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text(encoding="utf-8")
    grace = float(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1])
    assert grace > ServeSettings().grace_s
    unit = tmp_path / "pelee.service"
    unit.write_text(text.replace("/opt/pelee/bin/pelee-serve", shutil.which("true")), encoding="utf-8")
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and str(unit) not in done.stderr, done.stderr
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, check=False
    )
    assert rated.returncode == 0, rated.stdout
