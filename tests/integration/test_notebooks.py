"""Notebooks of docs/notebooks: without outputs, with an installing first cell, and run from top to bottom."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.documentation import PROJECT
from tests.support.paths import ROOT

if TYPE_CHECKING:
    import nbformat

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# In place of the cell that is tagged "parameters".
SHORT = {"fine-tune": "steps = 2\ninput_size = 64"}
# Text that the outputs must have.
EXPECTED = {
    "quick-start": ["cat 0.", "'label': 'cat'", "Egyptian cat"],
    "fine-tune": ["map_11point", "my-data/images/00.jpg"],
    "count-objects": ["'lines': [{'in': {"],
}


def read(path: Path) -> "nbformat.NotebookNode":
    import nbformat  # takes seconds, for which every process of the tests would wait

    return nbformat.read(path, as_version=4)


def code_cells(notebook: "nbformat.NotebookNode") -> "list[nbformat.NotebookNode]":
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_three_notebooks():
    assert {path.stem for path in NOTEBOOKS} == set(EXPECTED)


@pytest.mark.slow
@each_notebook
def test_outputs_are_stripped(path):
    import nbformat

    notebook = read(path)
    nbformat.validate(notebook)
    assert code_cells(notebook)
    for cell in code_cells(notebook):
        assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.slow
@each_notebook
def test_the_first_cell_installs_an_extra_of_the_project(path):
    source = code_cells(read(path))[0].source
    (requirement,) = [line.split('"')[1] for line in source.splitlines() if "%pip install" in line]
    name, _, extra = requirement.rstrip("]").partition("[")
    assert name == PROJECT["name"] and extra in {"", *PROJECT["optional-dependencies"]}


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = read(path)
    parameters = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == (path.stem in SHORT)
    for cell in parameters:
        cell.source = SHORT[path.stem]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    printed = "".join(output.get("text", "") for output in outputs)
    assert all(text in printed for text in EXPECTED[path.stem]), printed
    assert "error: " not in printed, printed
