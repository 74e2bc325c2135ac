"""What SECURITY in the README promises, looked up in the code itself."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from repository import NOTEBOOKS, ROOT

from cnnlab.publish import command_line

MODULES = sorted((ROOT / "cnnlab").rglob("*.py"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

EXECUTES = {"eval", "exec", "compile", "__import__"}
FOREIGN = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "telnetlib"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def option(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


def faults(tree: ast.AST) -> list[str]:
    """What should not be in the code of a lesson."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"imports {name}" for name in names if name.split(".")[0] in FOREIGN]
    for name, call in calls(tree):
        last = name.split(".")[-1]
        if name in EXECUTES or name in SHELLS:
            found.append(f"calls {name}")
        if option(call, "shell") not in (None, "False"):
            found.append(f"{name} with a shell")
        if name.startswith("subprocess.") and isinstance(
            call.args[0], (ast.Constant, ast.JoinedStr)
        ):
            found.append(f"{name} with one string")
        if name == "torch.load" and option(call, "weights_only") != "True":
            found.append("torch.load without weights_only=True")
        unpickles = last in ("read_pickle", "unsafe_load")
        if unpickles or option(call, "allow_pickle") not in (None, "False"):
            found.append(f"{name} unpickles")
        if name == "yaml.load":
            found.append("yaml.load; use safe_load")
        if last == "mktemp":
            found.append("mktemp leaves a gap")
        if last == "extractall":
            found.append("extractall; use cnnlab.data.downloads.unpack")
        if option(call, "verify") == "False":
            found.append(f"{name} does not look at certificates")
    return found


def notebook_code(path: Path) -> str:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return "\n\n".join(
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_executes_what_others_wrote(path):
    found = faults(ast.parse(path.read_text(encoding="utf-8")))
    if path.name == "downloads.py":  # the one place that unpacks, after a look at every name
        found = [fault for fault in found if not fault.startswith("extractall")]
    if path.name == "cifar.py":  # reads pickles by a class that refuses all but NumPy's arrays
        found.remove("imports pickle")
    assert found == []


def test_the_only_reader_of_pickles_chooses_what_it_loads():
    """tests/data/test_cifar.py shows that a hostile archive runs nothing."""
    tree = ast.parse((ROOT / "cnnlab/data/cifar.py").read_text(encoding="utf-8"))
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used = {name for name in names if name.startswith("pickle.")}
    assert used == {"pickle.Unpickler", "pickle.UnpicklingError"}
    (reader,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [method.name for method in reader.body[1:]] == ["find_class"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_executes_what_others_wrote(path):
    assert faults(ast.parse(notebook_code(path))) == []


def test_the_search_itself_finds_what_it_looks_for():
    bad = """
import pickle
eval("1")
subprocess.run("ls " + name, shell=True)
subprocess.run(f"ls {name}")
torch.load(path)
torch.load(path, weights_only=False)
numpy.load(path, allow_pickle=True)
archive.extractall(folder)
requests.get(url, verify=False)
"""
    assert len(faults(ast.parse(bad))) == 9
    good = "model.eval(); re.compile('x'); torch.load(path, weights_only=True)"
    assert faults(ast.parse(good)) == []


def test_the_package_opens_no_port_and_the_tests_only_on_the_loopback():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"Server\(|\.bind\(|\.listen\(|0\.0\.0\.0", text), path.name
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:Server|__init__|bind)\(\(([^,]+),", text)) <= {'"127.0.0.1"'}


def test_the_servers_of_the_tests_listen_to_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere it is a child process")
def test_jupyterlab_keeps_its_token_and_its_address(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda program, command: started.append(command))
    monkeypatch.setattr(command_line.subprocess, "call", lambda command: 0)
    command_line.main(["lab"])
    (command,) = started
    assert command[0] == sys.executable and "jupyterlab" in command
    words = " ".join(command)
    assert not re.search(r"token|password|allow_origin|\bip\b|disable_check_xsrf", words)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_may_only_read(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in text


def test_the_workflow_looks_for_known_holes_at_every_push_and_every_week():
    workflow = yaml.safe_load((WORKFLOWS[0].parent / "ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["audit"]["steps"]]
    assert steps[-2:] == ["pip install -e . pip-audit", "pip-audit --skip-editable"]
    assert {"push", "pull_request", "schedule"} <= set(workflow[True])  # YAML reads `on` as true


def test_the_workflow_covers_three_systems_and_every_python():
    workflow = yaml.safe_load((WORKFLOWS[0].parent / "ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["versions"]["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert matrix["versions"] == ["oldest", "newest"]


POSIX_ONLY = {"fcntl", "pty", "termios", "resource", "pwd", "grp"}
POSIX_CALLS = {f"os.{name}" for name in ("fork", "getuid", "geteuid", "mkfifo", "setsid", "execv")}
POSIX_CALLS |= {"signal.SIGKILL", "signal.SIGALRM", "signal.SIGUSR1"}
GUARDS = re.compile(r"os\.name|sys\.platform|hasattr")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_that_only_posix_has_stands_outside_a_guard(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and GUARDS.search(ast.unparse(node.test)):
            guarded |= {inner for line in node.body for inner in ast.walk(line)}
    free = [node for node in ast.walk(tree) if node not in guarded]
    imported = {
        alias.name for node in free if isinstance(node, ast.Import) for alias in node.names
    } | {node.module for node in free if isinstance(node, ast.ImportFrom)}
    assert not imported & POSIX_ONLY
    named = {ast.unparse(node) for node in free if isinstance(node, ast.Attribute)}
    assert not named & POSIX_CALLS
