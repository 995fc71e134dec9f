"""Guards of the house's rules: who imports whom, how large things get, what is never written."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "medseg").rglob("*.py"))
SCRIPTS = sorted([*(ROOT / "pipelines").glob("*.py"), *(ROOT / ".ci").glob("*.py")])
FILE_LINES, FUNCTION_LINES = 400, 60
HEAVY = ("torch", "monai", "ignite", "SimpleITK", "pydicom", "scipy", "nibabel", "numpy", "PIL", "yaml")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def body_lines(function: Function) -> int:
    """Lines of a function's body without its docstring."""
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.body[-1].end_lineno or 0) - first.lineno + 1


def imported_at_top(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node, node.module.split(".")[0]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rooms_import_downwards_only():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed: pip install 'medseg[lint]'")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_command_line_answers_without_a_heavy_import(argument: str):
    loaded = run_python(
        "import sys\nfrom medseg.cli import main\n"
        f"try:\n    main(['{argument}'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "sys.stdout.write('LOADED ' + ' '.join(sorted(sys.modules)))"
    ).rpartition("LOADED ")[2]
    assert sorted(set(loaded.split()) & set(HEAVY)) == []


def test_training_on_nifti_never_imports_simpleitk():
    loaded = run_python(
        "import sys\n"
        "import medseg.training, medseg.transforms, medseg.networks, medseg.inference, medseg.bundle.load\n"
        "import medseg.bundle.run, medseg.intake\n"
        "from medseg.datasets import CaseDataset, EpochSampler, load_datalist\n"
        "from medseg.intake import MedsegLabelReader, MedsegReader\n"
        "sys.stdout.write('SimpleITK' if 'SimpleITK' in sys.modules else 'free')"
    )
    assert loaded == "free"


def test_simpleitk_is_imported_inside_functions_only():
    found = [place(p, node) for p in SOURCES for node, name in imported_at_top(p) if name == "SimpleITK"]
    assert found == []


def test_intake_imports_pydicom_inside_functions_only():
    intake = [p for p in SOURCES if "intake" in p.relative_to(ROOT).parts]
    assert [place(p, node) for p in intake for node, name in imported_at_top(p) if name == "pydicom"] == []


def test_files_stay_short():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in [*SOURCES, *SCRIPTS]}
    assert {name: n for name, n in lengths.items() if n > FILE_LINES} == {}


def test_functions_stay_short():
    functions = [(p, n) for p in [*SOURCES, *SCRIPTS] for n in ast.walk(tree(p)) if isinstance(n, Function)]
    assert {place(p, n): body_lines(n) for p, n in functions if body_lines(n) > FUNCTION_LINES} == {}


def test_the_package_never_prints():
    calls = [(p, n) for p in SOURCES for n in ast.walk(tree(p)) if isinstance(n, ast.Call)]
    assert [place(p, n) for p, n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"] == []


def test_no_failure_is_swallowed():
    handlers = [(p, n) for p in [*SOURCES, *SCRIPTS] for n in ast.walk(tree(p)) if isinstance(n, ast.ExceptHandler)]
    assert [place(p, n) for p, n in handlers if swallows(n)] == []


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it takes every exception and does nothing about it, or is bare."""
    if handler.type is None:
        return True
    takes_all = isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    return takes_all and all(isinstance(step, ast.Pass | ast.Continue) for step in handler.body)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("try:\n    f()\nexcept Exception:\n    pass", True),
        ("try:\n    f()\nexcept:\n    g()", True),
        ("try:\n    f()\nexcept Exception as e:\n    log(e)", False),
        ("try:\n    f()\nexcept KeyError:\n    pass", False),
    ],
    ids=["silent", "bare", "told", "narrow"],
)
def test_the_guard_against_swallowing_sees_it(code: str, expected: bool):
    (handler,) = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ExceptHandler))
    assert swallows(handler) is expected


def test_every_command_of_the_readme_is_run_by_a_stage():
    done = subprocess.run(
        [sys.executable, ".ci/readme_commands.py", "README.md", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
