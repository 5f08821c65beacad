import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import apiece

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "apiece"
PRINTING = ("progress.py", "cli.py", "commands.py", "data_commands.py", "score_commands.py", "choice_commands.py")
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
SILENT_ABOUT_THEIR_CONTENT = {"utils", "util", "misc", "common", "helpers", "base", "core"}


def loaded_by(statement: str) -> set[str]:
    """Which top-level modules a fresh interpreter holds after a statement; nothing may be printed by it."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stderr == "" and run.stdout.count("\n") == 1
    return set(run.stdout.split())


def name_of(module: Path) -> str:
    parts = ["apiece", *module.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_version_is_the_installed_one():
    assert apiece.__version__ == version("apiece")


def test_every_public_name_can_be_had():
    assert len(set(apiece.__all__)) == len(apiece.__all__)
    for name in apiece.__all__:
        assert getattr(apiece, name) is not None


def test_importing_is_quiet_and_leaves_heavy_libraries_alone():
    heavy = {"torch", "torchvision", "lightning", "lightning_fabric", "scipy", "PIL", "tifffile", "pycocotools", "rich"}
    assert not loaded_by("import apiece") & (heavy | {"jsonargparse"})


@pytest.mark.parametrize(
    "module",
    [
        name_of(module)
        for module in MODULES
        if module.parts[0] in ("metrics", "instances.py", "masks.py", "draw.py", "progress.py", "scoring.py")
        or module.parts[0] in ("inspection.py", "conversion.py")
        or (module.parts[0] == "data" and module.name not in ("augment.py", "loading.py"))
    ],
)
def test_scoring_checking_and_converting_never_import_torch(module):
    assert not loaded_by(f"import {module}") & {"torch", "torchvision", "lightning_fabric"}


def test_there_are_at_most_twelve_direct_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 12


def test_constraints_are_names_and_versions_only():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_file_can_be_held_in_the_head(module):
    text = (SOURCE / module).read_text()
    assert module.stem not in SILENT_ABOUT_THEIR_CONTENT
    lines = text.count("\n")
    assert lines <= (400 if module.parts[0] == "methods" else 250)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert body_lines(node) <= 40, f"{node.name} in line {node.lineno}"


def body_lines(function: ast.FunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_inside_nothing_is_asserted_and_only_progress_prints(module):
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert module.name in PRINTING, f"line {node.lineno}"


def test_the_tree_in_the_readme_is_the_tree():
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("src/apiece/\n") : readme.index("tests/       ")]
    told, there = set(re.findall(r"\w+\.py", tree)), {module.name for module in MODULES} - {"__init__.py"}
    assert (sorted(there - told), sorted(told - there)) == ([], []), "missing in the README, and there but not in src"
