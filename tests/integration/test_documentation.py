"""README and docs: links resolve, tables agree with the code, the site loads nothing from other hosts."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.documentation import (
    CLASSIFIER_RECIPES,
    DETECTOR_RECIPES,
    PACKAGES,
    PAGES,
    PROJECT,
    blocks,
    each_page,
    options,
    prose,
    shipped,
    text,
)
from tests.support.paths import ROOT

# ---------------------------------------------------------------- links and tables


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@each_page
def test_links_resolve(page):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        inside = page.name == "README.md" or (ROOT / "docs") in target.parents
        if not target.exists() or not inside or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if (ROOT / "docs") in page.parents]
    assert sorted(navigation) == sorted(pages)
    linked = re.findall(r"\]\((\S+\.md)\)", text(ROOT / "docs" / "index.md"))
    assert sorted({*linked, "index.md"}) == sorted(pages)


def test_the_readme_is_short():
    assert len(text(ROOT / "README.md").splitlines()) <= 150


def rows(page: Path, heading: str = "") -> list[list[str]]:
    """The cells of the tables of a page, or of the section with a heading."""
    content = text(page)
    if heading:
        content = re.split(r"^#+ ", content.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found = [line.strip("|").split(" | ") for line in content.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found if not set("".join(row)) <= set("-: |")]


def names_in(cells: list[str]) -> list[str]:
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("page", ["accuracy", "speed"])
def test_figures_of_the_readme_are_those_of_the_docs(page):
    figures = rows(ROOT / "docs" / "benchmarks" / f"{page}.md")
    first = {"accuracy": "VOC2007 test, whole", "speed": "openvino int8 CPU"}[page]
    (row,) = (row for row in rows(ROOT / "README.md") if row[0] == first)
    (measured, *_) = (cells for cells in figures if cells[0] == first)
    assert set(row) <= set(measured)


def test_the_extras_are_those_of_the_project():
    extras = set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"}
    table = rows(ROOT / "README.md", "Install")
    assert sorted(names_in([row[0] for row in table])) == sorted(extras)
    listed = re.findall(r"^pip install '\.\[(\w+)\]'", "\n".join(blocks(ROOT / "docs" / "install.md", "text")), re.M)
    assert set(listed) - {"all"} == extras - {"onnxruntime"}  # named beside `all`


def test_the_recipes_are_those_that_ship():
    page = ROOT / "docs" / "recipes.md"
    for heading, folder in (("Detector", DETECTOR_RECIPES), ("Classifier", CLASSIFIER_RECIPES)):
        _, *table = rows(page, heading)
        assert {names_in(row[:1])[0] for row in table} == shipped(folder)


def test_the_settings_of_the_service_have_these_defaults():
    from serve.settings import ServeSettings

    fields = ServeSettings.__dataclass_fields__
    _, *table = rows(ROOT / "docs" / "serve.md", "Settings")
    for cells in table:
        given = [flag.removeprefix("--").replace("-", "_") for flag in names_in(cells[:1]) if flag.startswith("--")]
        defaults = re.split(r", ", cells[1])
        if len(given) == len(defaults):
            for field, default in zip(given, defaults, strict=True):
                if re.fullmatch(r"[\d.]+", default):
                    assert str(fields[field].default).removesuffix(".0") == default, field


def test_the_endpoints_are_those_of_the_service():
    from serve.settings import ServeSettings
    from serve.web.app import create_app

    _, *table = rows(ROOT / "docs" / "serve.md", "Endpoints")
    paths = {word.split()[1] for cells in table for word in names_in(cells[:1])}
    assert paths == set(create_app(ServeSettings()).openapi()["paths"]) | {"/ws", "/openapi.json"}


@pytest.mark.slow
def test_the_ingredients_are_settings():
    section = text(ROOT / "docs" / "train-detector.md").partition("## Optional ingredients\n")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z_]+)`", section)
    wrong = [setting for setting in named if f"--{setting.replace('_', '-')}" not in options("pelee-train")]
    assert len(named) >= 10 and not wrong


@pytest.mark.slow
def test_the_model_zoo_has_the_counts_of_the_code(capsys):
    from detection.commands.models import main

    assert main(["--json", "-"]) == 0
    counted = {}
    for line in capsys.readouterr().out.splitlines():
        row = json.loads(line)
        side = row["input_shape"][2]
        counts = [f"{row['parameters']:,}", f"{row['report_parameters']:,}", f"{round(row['multiply_adds'] / 1e6):,} M"]
        counted[row["model"]] = [*counts, f"{side}×{side}"]
    table = {names_in(row[:1])[0]: row[1:5] for row in rows(ROOT / "docs" / "model-zoo.md") if names_in(row[:1])}
    assert table == counted


def folders(package: str) -> set[str]:
    """The folders of a package that have modules of their own beside `__init__`."""
    files = [path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    return {path.parent.relative_to(ROOT).as_posix() for path in files}


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_the_architecture_has_every_folder(package):
    _, *table = rows(ROOT / "docs" / "architecture.md", f"`{package}`")
    assert sorted(names_in(row[:1])[0] for row in table) == sorted(folders(package) | {package})


# ---------------------------------------------------------------- the site


class Loads(HTMLParser):
    """Collects what a page loads by itself: scripts, styles, fonts, images and frames; not its links."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.urls.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.urls.append(given.get("href") or "")


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_other_hosts(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    foreign = []
    for file in tmp_path.rglob("*.html"):
        page = Loads()
        page.feed(file.read_text(encoding="utf-8"))
        foreign += [(file.name, url) for url in page.urls if re.match(r"(\w+:)?//", url)]
    for file in tmp_path.rglob("*.css"):
        styles = file.read_text(encoding="utf-8")
        foreign += [
            (file.name, url) for url in re.findall(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)", styles)
        ]
    assert not foreign
    assert (tmp_path / "api" / "detection.html").read_text(encoding="utf-8").count("doc-heading") > 5
