"""Imports run one way, serve -> detection -> pelee -> data, weights, and the way of a shipped model is a light one."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("data", "weights", "pelee", "detection", "serve")
MAY_IMPORT = {
    "data": {"data"},
    "weights": {"weights"},
    "pelee": {"pelee", "data", "weights"},
    "detection": {"detection", "pelee", "data", "weights"},
    "serve": {"serve", "detection", "pelee", "data", "weights"},
}
# What both of the lowest packages need: errors, files that are whole or absent, and the numbers of the preprocessing,
# which a card repeats.
WEIGHTS_MAY_IMPORT = ("data.errors", "data.atomic_files", "data.images.preprocess")
HEAVY = (
    "torch",
    "torchvision",
    "pytorch_lightning",
    "albumentations",
    "supervision",
    "matplotlib",
    "pycocotools",
    "timm",
)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, wherever in it: (line, dotted name), a name's module with the name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_name(path).split(".")
                package = package if path.name == "__init__.py" else package[:-1]
                base = ".".join(filter(None, [*package[: len(package) - node.level + 1], base]))
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    assert sources(package)
    wrong = []
    for path in sources(package):
        for line, name in imports(path):
            if path == ROOT / "pelee" / "__init__.py" and name == "detection.detector.Detector":
                continue  # for type checkers only: `pelee.Detector`
            top = name.partition(".")[0]
            allowed = (
                top not in (*PACKAGES, "tests")
                or top in MAY_IMPORT[package]
                or (package == "weights" and any(is_within(name, module) for module in WEIGHTS_MAY_IMPORT))
            )
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_what_weights_takes_of_data_imports_nothing_of_the_house() -> None:
    """So that `weights` and `data` stay apart."""
    for module in WEIGHTS_MAY_IMPORT:
        path = ROOT / Path(*module.split(".")).with_suffix(".py")
        assert not [name for _, name in imports(path) if name.partition(".")[0] in PACKAGES]


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import a.b\nfrom c import d, e\n\ndef f():\n    if True:\n        from g.h import i\n")
    assert list(imports(path)) == [(1, "a.b"), (2, "c.d"), (2, "c.e"), (6, "g.h.i")]


def all_of(package: str, but: tuple[str, ...] = ()) -> list[str]:
    return [module_name(path) for path in sources(package) if path.stem not in ("__main__", *but)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules",
    [
        pytest.param(
            ["detection.detector", "detection.inference.nms", "detection.inference.detection_session"], id="detector"
        ),
        pytest.param(all_of("data"), id="data"),
        pytest.param(all_of("weights"), id="weights"),
        pytest.param(
            [*all_of("detection/video"), "detection.commands.detect", "detection.commands.export"],
            id="video and commands",
        ),
        pytest.param(all_of("pelee/runtime", but=("torch_session",)), id="runtimes"),
        pytest.param(
            [
                "pelee.classification.classifier",
                "pelee.classification.results",
                "pelee.commands.classify",
                "pelee.commands.eval_classifier",
            ],
            id="classifier",
        ),
    ],
)
def test_light_imports(modules: list[str]) -> None:
    """In an interpreter of its own, where nothing has been imported yet."""
    code = (
        "import importlib, sys\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


WITHOUT = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
TRAIN_ONLY = ("torch", "torchvision", "pytorch_lightning", "albumentations", "pycocotools", "pydantic", "nncf", "onnx")


def without(absent: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter in which these modules cannot be imported."""
    command = [sys.executable, "-c", WITHOUT.format(absent=set(absent)) + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_shipped_detector_runs_without_torch() -> None:
    """From a picture on disk to its boxes, by the library and by the command, as the light install does."""
    done = without(
        TRAIN_ONLY,
        "from detection import Detector\n"
        "detector = Detector.load()\n"
        "print(*detector('data/samples/chelsea.jpg').data['class_name'], detector.runtime.name)\n"
        "from detection.commands.detect import main\n"
        "assert main(['data/samples/chelsea.jpg', '--json', '-']) == 0\n",
    )
    assert done.returncode == 0, done.stderr
    said, line = done.stdout.splitlines()
    assert "cat" in said and "openvino int8" in said and '"label": "cat"' in line


@pytest.mark.slow
def test_the_shipped_classifier_runs_without_torch() -> None:
    """From a picture on disk to its classes, by the library and by the command, as the light install does."""
    done = without(
        TRAIN_ONLY,
        "from pelee.classification.classifier import Classifier\n"
        "classifier = Classifier.load()\n"
        "print(classifier('data/samples/chelsea.jpg').best.label, classifier.runtime)\n"
        "from pelee.commands.classify import main\n"
        "assert main(['data/samples/chelsea.jpg', '--json', '-']) == 0\n",
    )
    assert done.returncode == 0, done.stderr
    said, line = done.stdout.splitlines()
    assert "Egyptian cat" in said and "openvino int8" in said and '"label": "Egyptian cat"' in line


@pytest.mark.slow
def test_a_command_whose_part_is_missing_names_the_extra() -> None:
    for command, arguments in (
        ("detection.commands.train", ["--print-settings"]),
        ("detection.commands.detect", ["data/samples/chelsea.jpg", "--runtime", "torch"]),
        ("detection.commands.export", ["--format", "onnx", "--output", "/nonexistent/x"]),
        ("pelee.commands.train_classifier", ["--print-settings"]),
    ):
        done = without(TRAIN_ONLY, f"from {command} import main\nsys.exit(main({arguments!r}))")
        assert done.returncode == 2, (command, done.stdout, done.stderr)
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
        assert "pelee[train]" in done.stderr or "pelee[export]" in done.stderr
