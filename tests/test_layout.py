"""The house keeps its shape: who may import whom, what a front page may hold, how long a thought may be."""

import ast
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
PACKAGES = ("anchor", "tss", "bridge", "migrations", "regtest")
BUILT = ROOT / "tss" / "frost" / "_native"
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 60


def name_of(path: Path) -> str:
    """A path as the reader knows it."""
    return str(path.relative_to(ROOT))


def python_files(*tops: str) -> list[Path]:
    """All Python files under these folders that people wrote."""
    found = (path for top in tops for path in (ROOT / top).rglob("*.py"))
    return sorted(p for p in found if BUILT not in p.parents and "target" not in p.parts)


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Every file that people wrote, parsed once."""
    files = [*python_files(*PACKAGES, "tests"), ROOT / ".ci" / "setup.py"]
    return {name_of(path): ast.parse(path.read_bytes()) for path in files}


def test_the_import_contracts_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_every_module_says_in_a_docstring_what_it_is(trees: dict[str, ast.Module]) -> None:
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_a_folders_front_page_is_its_docstring_and_nothing_else(trees: dict[str, ast.Module]) -> None:
    pages = {name: tree for name, tree in trees.items() if name.endswith("__init__.py")}
    assert [name for name, tree in pages.items() if len(tree.body) != 1 or not ast.get_docstring(tree)] == []


def test_every_folder_with_code_has_a_front_page() -> None:
    folders = {
        path.parent
        for path in python_files(*PACKAGES)
        if path.name != "env.py" and "versions" not in path.parts
    }
    assert [
        name_of(f) for f in sorted(folders) if f.name != "migrations" and not (f / "__init__.py").is_file()
    ] == []


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {name_of(p): len(p.read_text().splitlines()) for p in python_files(*PACKAGES, "tests")}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_PER_FILE} == {}


def test_no_function_is_longer_than_60_lines(trees: dict[str, ast.Module]) -> None:
    lengths = {
        f"{name}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES_PER_FUNCTION} == {}


def test_every_command_group_is_a_door_that_opens() -> None:
    from importlib import import_module

    for group, target in command_groups().items():
        module, _, attribute = target.partition(":")
        if not (ROOT / module.replace(".", "/")).with_suffix(".py").is_file():
            pytest.skip(f"{module} is not written yet")
        assert hasattr(import_module(module), attribute), group


def test_the_readme_names_every_command_group() -> None:
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README yet")
    text = readme.read_text()
    assert [group for group in command_groups() if f"holdfast {group}" not in text] == []


def command_groups() -> dict[str, str]:
    """Each command group with the place where it is written, from pyproject."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(project["entry-points"]["holdfast.commands"])
