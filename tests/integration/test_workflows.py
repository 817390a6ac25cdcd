"""GitHub workflows, issue templates and update settings: what they run exists, and publishing needs no token."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.documentation import PROJECT
from tests.support.paths import ROOT

GITHUB = ROOT / ".github"


def content(file: str) -> dict:
    return yaml.safe_load((GITHUB / file).read_text(encoding="utf-8"))


def test_ci_runs_on_both_architectures():
    job = content("workflows/test.yml")["jobs"]["test"]
    assert job["steps"][-1]["run"] == ".ci/run" and os.access(ROOT / ".ci" / "run", os.X_OK)
    assert [runner.endswith("-arm") for runner in job["strategy"]["matrix"]["runner"]] == [False, True]


def test_a_tag_is_tested_and_then_published_without_a_token():
    workflow = content("workflows/publish.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads "on" as true
    jobs = workflow["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml" and jobs["build"]["needs"] == "test"
    assert jobs["publish"]["needs"] == "build" and jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (GITHUB / "workflows" / "publish.yml").read_text(encoding="utf-8")


def test_only_publishing_has_more_than_the_right_to_read():
    for file in (GITHUB / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, file
        rights = {name for name, job in workflow["jobs"].items() if "permissions" in job}
        assert rights <= {"publish"}, file


def test_bug_reports_ask_for_the_doctor():
    body = content("ISSUE_TEMPLATE/bug.yml")["body"]
    (field,) = [field for field in body if "`pelee doctor`" in field["attributes"]["label"]]
    assert field["validations"]["required"] is True
    assert "`pelee doctor`" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_dependencies_are_updated_where_they_are_named():
    updates = content("dependabot.yml")["updates"]
    assert {one["package-ecosystem"] for one in updates} == {"pip", "github-actions", "docker"}
    assert {one["directory"] for one in updates} == {"/"}


def test_actions_are_commits_with_their_version_beside_them():
    text = "".join(file.read_text(encoding="utf-8") for file in sorted((GITHUB / "workflows").glob("*.yml")))
    used = [line for line in re.findall(r"uses: (.+)", text) if not line.startswith("./")]
    actions = [line for line in used if not re.fullmatch(r"docker://[\w/-]+:[\d.]+", line)]
    assert len(actions) > 4
    for line in actions:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), f"{line}: pin a commit, version as comment"
    assert len(set(actions)) == len({line.partition("@")[0] for line in actions}), "one version for each action"


def test_the_wheel_is_tested_on_every_python_of_the_metadata():
    named = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert content("workflows/test.yml")["jobs"]["wheel"]["strategy"]["matrix"]["python"] == named


def test_the_targets_of_make_exist():
    text = "".join(file.read_text(encoding="utf-8") for file in (GITHUB / "workflows").glob("*.yml"))
    used = set(re.findall(r"\bmake ([\w-]+)", text))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert used and used <= targets


def test_actionlint_accepts_the_workflows():
    actionlint = shutil.which("actionlint")
    if actionlint is None:
        pytest.skip("actionlint is not installed")
    files = sorted((GITHUB / "workflows").glob("*.yml"))
    done = subprocess.run([actionlint, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_no_weakness():
    zizmor = shutil.which("zizmor", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if zizmor is None:
        pytest.skip("zizmor is not installed")
    command = [zizmor, "--offline", "--no-progress", "--quiet", "--min-severity=medium", GITHUB]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
