"""Licenses of everything that `pelee[all]` installs: each is on the list of those that Apache-2.0 users can ship."""

import pytest

from tests.support.licenses import ALLOWED, EXCEPTIONS, dependencies, license_of, not_allowed


@pytest.mark.slow
def test_every_dependency_has_an_allowed_license():
    found = dependencies("pelee", extra="all")
    assert {"numpy", "openvino", "supervision", "torch", "fastapi"} <= found.keys()
    refused = {name: license_of(one) for name, one in found.items() if not_allowed(name, one)}
    assert not refused


def test_licenses_are_read_from_expressions_classifiers_and_texts():
    found = dependencies("pelee", extra="")
    assert "torch" not in found and len(found) > 20
    licenses = {name: license_of(one) for name, one in found.items()}
    assert all(licenses.values())
    assert "Apache" in licenses["openvino"] and "MIT" in licenses["supervision"]


def test_a_license_that_is_not_on_the_list_is_refused(tmp_path, monkeypatch):
    from importlib.metadata import distribution

    folder = tmp_path / "strict-1.0.dist-info"
    folder.mkdir()
    metadata = folder / "METADATA"
    monkeypatch.syspath_prepend(tmp_path)
    for line, refused in (
        ("License-Expression: AGPL-3.0-only", True),
        ("License-Expression: MIT AND GPL-3.0-only", True),
        ("License-Expression: MIT OR GPL-3.0-only", False),
        ("License-Expression: (MIT OR Apache-2.0) AND BSD-3-Clause", False),
        ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True),
        ("Classifier: License :: OSI Approved :: MIT License", False),
        ("License: Proprietary", True),
        ("Keywords: no license at all", True),
    ):
        metadata.write_text(f"Metadata-Version: 2.4\nName: strict\nVersion: 1.0\n{line}\n", encoding="utf-8")
        assert not_allowed("strict", distribution("strict")) is refused, line
    assert "AGPL-3.0-only" not in ALLOWED and "strict" not in EXCEPTIONS
