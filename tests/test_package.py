"""The package as a whole: light to import, one set of settings, everything public is there."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
import yaml
from repository import ROOT

import cnnlab

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

MODULES = sorted((ROOT / "cnnlab").rglob("*.py"))
NO_CODE = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.COMMENT,
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_no_module_or_folder_shares_its_name_with_a_public_name():
    """Importing ``cnnlab.x`` would put the module in the place of the function ``cnnlab.x``."""
    modules = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    assert set(cnnlab.__all__) & modules == set()


def code_lines(path: Path) -> int:
    """Count the lines that hold code: no blanks, no comments, no docstrings."""
    source = path.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(source)):
        documentable = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documentable and ast.get_docstring(node, clean=False) is not None:
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def test_the_package_stays_small():
    """Whoever adds code takes other code away, or moves it where it is taught: into a lesson."""
    sizes = {path: code_lines(path) for path in MODULES}
    core = sum(size for path, size in sizes.items() if path.parent == ROOT / "cnnlab")
    assert core <= 1000
    assert sum(sizes.values()) <= 7800
    assert len(cnnlab.__all__) <= 46


def test_import_takes_under_50_ms_and_loads_nothing_heavy():
    script = (
        "import sys, time; start = time.process_time(); import cnnlab; "
        "print(time.process_time() - start); "
        "print([m for m in ('torch', 'matplotlib', 'sklearn', 'numpy') if m in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    seconds, loaded = zip(*(run.stdout.splitlines() for run in runs), strict=True)
    assert set(loaded) == {"[]"}
    assert min(map(float, seconds)) < 0.05  # the best of five: the machine may be busy


def test_every_public_name_is_there_and_explained():
    assert set(cnnlab.__all__) <= set(dir(cnnlab))
    things = {name: getattr(cnnlab, name) for name in cnnlab.__all__ if name != "__version__"}
    assert [name for name, thing in things.items() if not thing.__doc__] == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        cnnlab.no_such_thing  # noqa: B018


def test_imports_go_down_only():
    """The floors are a contract in pyproject.toml; import-linter holds the code against it."""
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stdout


def test_no_star_imports_and_every_module_says_what_it_is():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert "import *" not in text, path
        assert ast.get_docstring(ast.parse(text)), path


def test_environment_yml_is_the_same_environment_as_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    # conda-forge calls two packages otherwise, and three of ours are only on PyPI
    spelled = {
        "pytorch": "torch",
        "matplotlib-base": "matplotlib",
        "jupyter_client": "jupyter-client",
    }
    listed = set()
    for line in [*conda, *pip]:
        match = re.match(r"([A-Za-z0-9_-]+)(.*)", line)
        assert match
        name = spelled.get(match[1], match[1])
        listed.add(name + match[2].strip())
    python = "python" + PROJECT["requires-python"]
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"], python]
    wanted = {re.split("[<>=]", line)[0]: line for line in lines}  # the tests' bound is the tighter
    assert listed - {"pip", "-e."} == set(wanted.values())


def test_the_named_packages_are_dependencies_and_used():
    named = "torch torchvision numpy matplotlib scikit-learn pycm livelossplot torchsummary jupyter"
    code = "".join(path.read_text(encoding="utf-8") for path in MODULES)
    listed = {re.split("[<>=]", line)[0] for line in PROJECT["dependencies"]}
    assert set(named.split()) <= listed
    for package in named.split():
        module = {"scikit-learn": "sklearn", "jupyter": "jupyterlab"}.get(package, package)
        assert re.search(rf"\b(import|from) {module}\b|-m.*{module}|\"{module}\"", code), package
