"""Run the tests on the oldest and on the newest versions that pyproject.toml allows.

    pip install uv
    python .ci/versions.py                                  # Python 3.10 to 3.13, both ends
    python .ci/versions.py --python 3.10 --oldest -- tests/test_training.py

Each combination gets an environment of its own in ``build/versions``. A Python that uv can neither
find nor fetch is told in the table at the end and fails the command, unless --skip-missing is set.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# Direct dependencies only: the oldest versions of *their* dependencies were never promised.
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}


def uv(*arguments: str | Path) -> bool:
    """Run a command of uv, and tell whether it succeeded."""
    return subprocess.call([sys.executable, "-m", "uv", *map(str, arguments)], cwd=ROOT) == 0


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(version: str, end: str, folder: Path) -> bool:
    """Fill an environment with cnnlab and one end of the range of its dependencies.

    Only wheels are taken: an old version without one for this Python was never meant for it.
    """
    listed, python = folder / "requirements.txt", python_of(folder)
    choice = ("--resolution", RESOLUTIONS[end], "--only-binary", ":all:", "--quiet")
    return (
        uv("pip", "compile", "pyproject.toml", "--extra", "dev", "--python", python, *choice,
           "--output-file", listed)
        and uv("pip", "install", "--python", python, "--requirements", listed)
        and uv("pip", "install", "--python", python, "--no-deps", "--editable", ".")
    )  # fmt: skip


def test(version: str, end: str, arguments: list[str]) -> str:
    """Make an environment and run the tests in it; return how it went."""
    folder = ROOT / "build" / "versions" / f"{version}-{end}"
    if not uv("venv", "--python", version, "--allow-existing", folder):
        return "no such Python"
    if not install(version, end, folder):
        return "cannot be installed"
    command = [python_of(folder), "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return "passed" if subprocess.call(list(map(str, command)), cwd=ROOT) == 0 else "FAILED"


def main() -> int:
    words = argparse.ArgumentParser(prog="python .ci/versions.py", description=__doc__,
                                    formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    words.add_argument("--python", nargs="+", default=PYTHONS, metavar="VERSION")
    ends = words.add_mutually_exclusive_group()
    for end in RESOLUTIONS:
        ends.add_argument(f"--{end}", dest="ends", action="store_const", const=[end])
    words.add_argument("--skip-missing", action="store_true", help="a missing Python is no failure")
    words.add_argument("pytest", nargs="*", help="what to hand to pytest, after --")
    args = words.parse_args()
    outcomes = {
        (version, end): test(version, end, args.pytest)
        for version in args.python
        for end in args.ends or RESOLUTIONS
    }
    for (version, end), outcome in outcomes.items():
        print(f"Python {version}, {end} versions: {outcome}")
    fine = {"passed"} | ({"no such Python"} if args.skip_missing else set())
    return 0 if set(outcomes.values()) <= fine else 1


if __name__ == "__main__":
    sys.exit(main())
