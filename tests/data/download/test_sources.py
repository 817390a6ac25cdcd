"""The table of the official archives."""

import re
import urllib.request

from data.download.sources import SOURCES


def test_the_official_tables() -> None:
    """Well-formed, and every address below its base."""
    for source in SOURCES.values():
        assert source.base_url.endswith("/")
        for part in source.parts.values():
            assert re.fullmatch(r"[0-9a-f]{32}", part.md5)
            assert part.path.endswith((".tar", ".zip"))
            assert not part.path.startswith("/")
    assert SOURCES["voc"].base_url + SOURCES["voc"].parts["2007-test"].path == (
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar"
    )
    assert urllib.request.Request(SOURCES["coco"].base_url + "zips/val2017.zip").host == "images.cocodataset.org"
