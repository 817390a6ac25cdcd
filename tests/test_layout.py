"""Layout rules of docs/architecture.md: folder = subject, file = role, imports without circles, tests that mirror."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.test_imports import PACKAGES, imports, module_name, sources

MODULES_PER_FOLDER = 12
LINES_PER_MODULE = 300
LINES_WITHOUT_A_TEST = 40
VAGUE = {"utils", "util", "common", "misc", "helpers", "helper", "core", "tools", "stuff"}
# Base names that come more than once: the same role in parallel packages, and nothing else.
ROLES = {
    "errors",
    "dataset",
    "distillation",
    "drawing",
    "evaluate",
    "export",
    "lightning_module",
    "loading",
    "inference_model",
    "plots",
    "registry",
    "report",
    "sampler",
    "settings",
    "verification",
}
# Commands are named after what follows "pelee-", which is often the name of the library module behind it.
COMMANDS = "commands"


def all_modules() -> list[Path]:
    return [path for package in PACKAGES for path in sources(package) if path.name != "__init__.py"]


def folders() -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = defaultdict(list)
    for path in all_modules():
        found[path.parent].append(path)
    return found


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_a_folder_has_at_most_twelve_modules() -> None:
    crowded = {relative(folder): len(files) for folder, files in folders().items() if len(files) > MODULES_PER_FOLDER}
    assert folders() and not crowded


def test_a_module_has_at_most_three_hundred_lines() -> None:
    assert not {relative(path): code_lines(path) for path in all_modules() if code_lines(path) > LINES_PER_MODULE}


def test_every_folder_says_its_purpose_and_imports_nothing() -> None:
    """`pelee`, `detection` and `pelee.classification` alone give lazy access to their public classes."""
    for folder in folders():
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{relative(folder)}/__init__.py has no docstring"
        if relative(folder) not in ("pelee", "detection", "pelee/classification"):
            assert not list(imports(folder / "__init__.py")), relative(folder)


def test_no_module_has_a_vague_name() -> None:
    names = {part for path in all_modules() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not names & VAGUE


@pytest.mark.slow
def test_no_module_has_the_name_of_the_standard_library_or_of_a_dependency() -> None:
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    taken -= {*PACKAGES, "tests"}
    assert not [relative(path) for path in all_modules() if path.stem in taken]


def test_a_base_name_comes_twice_only_for_one_role_in_parallel_packages() -> None:
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in all_modules():
        if path.parent.name != COMMANDS:
            by_name[path.stem].append(relative(path))
    assert not {name: paths for name, paths in by_name.items() if len(paths) > 1 and name not in ROLES}


@pytest.mark.slow
def test_a_class_name_is_unique() -> None:
    """One word for one thing, in editors and in tracebacks as well; private classes may repeat."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in all_modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                by_name[node.name].append(relative(path))
    assert by_name and not {name: paths for name, paths in by_name.items() if len(paths) > 1}


def test_a_command_is_in_the_module_of_its_name() -> None:
    """`pelee-a-b` is `<package>/commands/a_b.py`; a name that Python reserves has an underscore (`import_.py`)."""
    import keyword
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts
    for name, target in scripts.items():
        module = target.partition(":")[0]
        expected = name.removeprefix("pelee-").replace("-", "_")
        expected += "_" * keyword.iskeyword(expected)
        assert module.split(".")[1:] == [COMMANDS, expected], (name, target)


def test_no_parsed_arguments_leave_the_commands() -> None:
    """A command turns its `argparse.Namespace` into a dataclass; libraries never see one."""
    # The frame of all commands, and the generator of flags, handle parsers by their nature.
    frame = {"data/command_line.py", "data/settings_flags.py"}
    guilty = [
        relative(path)
        for path in all_modules()
        if path.parent.name != COMMANDS
        and relative(path) not in frame
        and "argparse.Namespace" in path.read_text(encoding="utf-8")
    ]
    assert not guilty


# Imports


def room(module: str) -> str:
    """The folder that a module lies in; a module beside folders is a room of its own."""
    path = ROOT.joinpath(*module.split("."))
    while not path.is_dir() and not path.with_suffix(".py").is_file():
        path = path.parent  # the last part is a name in the module
    if path.is_dir():
        return relative(path)
    beside_folders = any(path.parent.glob("*/__init__.py"))
    return relative(path if beside_folders else path.parent)


def arrows() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sources(package):
            here = room(module_name(path))
            for _, name in imports(path):
                if name.partition(".")[0] in PACKAGES and (there := room(name)) != here:
                    yield here, there


@pytest.mark.slow
def test_there_are_no_circles_between_folders() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for here, there in arrows():
        if here.count("/") or there.count("/"):
            graph[here].add(there)
    assert len(graph) > 30
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


# Tests


def package_tests() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / "tests" / package).rglob("test_*.py")]


def test_tests_mirror_the_tree() -> None:
    """`tests/a/b/test_c.py` tests `a/b/c.py`; what crosses modules is in tests/integration or tests/acceptance."""
    found = package_tests()
    assert found
    strays = [
        relative(path)
        for path in found
        if not (ROOT / path.relative_to(ROOT / "tests").parent / f"{path.stem.removeprefix('test_')}.py").is_file()
    ]
    assert not strays


# Larger modules that tests of other modules cover. This list only shrinks.
COVERED_ELSEWHERE: set[str] = set()


def test_a_larger_module_has_a_test_of_its_name() -> None:
    tested = {path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_")) for path in package_tests()}
    without = {
        relative(path)
        for path in all_modules()
        if code_lines(path) > LINES_WITHOUT_A_TEST and path.relative_to(ROOT) not in tested
    }
    assert without == COVERED_ELSEWHERE


def test_support_holds_no_tests() -> None:
    assert not list((ROOT / "tests" / "support").rglob("test_*.py"))
