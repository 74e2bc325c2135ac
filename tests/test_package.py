"""The package as a whole: light to import, one set of settings, everything public is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import cnnlab

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "cnnlab").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# From the ground up; a module imports only from floors below its own, or beside it.
FLOORS = [
    {
        "style",
        "graphs",
        "tracing",
        "layouts",
        "labels",
        "diagrams",
        "quiz",
        "transposed",
        "upsampling",
        "grids",
        "field_tree",
        "field_taps",
        "field_boxes",
        "field_windows",
        "field_rules",
        "fields",
        "receptive_fields",
        "effective_field",
        "arithmetic",
        "runtime",
        "places",
        "archives",
        "insects",
        "scenery",
        "augmentation",
        "progress",
        "checkpoints",
        "distributed",
        "cards",
        "torchvision_list",
    },
    {"results", "resources", "downloads", "storage", "images", "splits", "history"},
    {
        "models",
        "unet",
        "uploads",
        "folders",
        "datasets",
        "duplicates",
        "ledger",
        "zoo",
        "architectures",
        "pictures",
        "blocks",
        "late_blocks",
        "costs",
    },
    {"backbones", "evaluation"},
    {
        "training",
        "transfer",
        "audit",
        "segmentation",
        "probes",
        "learning_curves",
        "strategies",
        "capacity",
        "races",
    },
    {"inspection", "kernels", "feature_space", "peaks", "attribution", "maximisation", "sanity"},
    {
        "plotting",
        "mask_plots",
        "source_code",
        "ledger_plots",
        "race_plots",
        "day_plot",
        "inspection_plots",
        "field_plots",
    },
    {"exercises", "pretraining"},
    {"model_card"},
    {"series", "pages", "decks", "site", "stamping", "report", "catalogue"},
    {"running", "doctor", "rehearsal"},
    {"__main__"},
]


def floor_of(module: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if module in floor)


def name_of(path: Path) -> str:
    return "exercises" if path.parent.name == "exercises" else path.stem


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a module imports, anywhere in its code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # names that only type checkers read are no imports
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cnnlab"):
            parts = node.module.split(".")
            found |= {parts[1]} if parts[1:] else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == "cnnlab" and parts[1:]}
    return found - {"__version__"}


def test_no_public_name_is_hidden_by_a_module_of_its_name():
    """Importing ``cnnlab.x`` would put the module in the place of the function ``cnnlab.x``."""
    assert set(cnnlab.__all__) & {path.stem for path in (ROOT / "cnnlab").glob("*.py")} == set()


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


@pytest.mark.parametrize("name", cnnlab.__all__)
def test_every_public_name_is_there_and_explained(name):
    thing = getattr(cnnlab, name)
    assert name in dir(cnnlab)
    assert name == "__version__" or thing.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        cnnlab.no_such_thing  # noqa: B018


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_only_go_downwards(path):
    name = name_of(path)
    if path.name == "__init__.py" and path.parent.name == "cnnlab":
        assert not imports_of(path)
        return
    for imported in imports_of(path) - {name}:
        assert floor_of(imported) <= floor_of(name), f"{name} imports {imported} from above"


def test_no_two_modules_import_each_other():
    graph = {name_of(path): imports_of(path) - {name_of(path)} for path in MODULES}

    def reachable(start: str) -> set[str]:
        seen, stack = set(), [start]
        while stack:
            for nxt in graph.get(stack.pop(), set()) - seen:
                seen.add(nxt)
                stack.append(nxt)
        return seen

    assert not [name for name in graph if name in reachable(name)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_star_imports_and_every_module_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert "import *" not in text
    assert ast.get_docstring(ast.parse(text))


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
    for package in named.split():
        assert any(re.match(rf"{package}\b", line) for line in PROJECT["dependencies"]), package
        module = {"scikit-learn": "sklearn", "jupyter": "jupyterlab"}.get(package, package)
        assert re.search(rf"\b(import|from) {module}\b|-m.*{module}|\"{module}\"", code), package


def test_the_data_folder_travels_in_the_wheel(tmp_path):
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    result = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "data").rglob("*"):
        if path.is_file():
            assert f"cnnlab/_data/{path.relative_to(ROOT / 'data').as_posix()}" in names
