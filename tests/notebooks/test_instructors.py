"""What README and CONTRIBUTING tell is true: commands exist, the worked example works."""

from __future__ import annotations

import re
from typing import Any

import nbformat
from repository import ROOT

from cnnlab.publish.command_line import build_parser

README = (ROOT / "README.md").read_text(encoding="utf-8")
PART = README.split("## For instructors\n")[1].split("\n## ")[0]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_command_it_names_is_one() -> None:
    commands = re.findall(r"\bcnnlab (\w+)(?: (--\w+))?", PART)
    assert {("doctor", "--class"), ("site", ""), ("slides", ""), ("stamp", "--clear")} <= {
        *commands
    }
    for name, option in commands:
        arguments = [name, *([option] if option else [])]
        if name == "stamp" and not option:
            arguments.append("OWNER/REPO")
        assert build_parser().parse_args(arguments).command == name


def test_the_table_gives_the_minutes_that_the_titles_promise() -> None:
    for path in ROOT.glob("notebooks/*/*.ipynb"):
        title = nbformat.read(path, as_version=4).cells[0].source
        (minutes,) = re.findall(rf"{path.name}\).*\| (\d+) \|", README)
        assert f"*{minutes} minutes" in title, path.name


def test_the_worked_example_is_an_exercise_with_three_diagnoses() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len([line for line in source.splitlines() if line.strip()]) <= 20
    path, scope = ROOT / "example.py", dict[str, Any]()
    import linecache

    linecache.cache[str(path)] = (len(source), None, source.splitlines(True), str(path))
    exec(compile(source, str(path), "exec"), scope)
    example = scope["output_size"]
    assert example.reference(28, 5, 3) == 8
    assert len(example.misconceptions()) == 3


def test_exercises_are_sorted_as_the_speaker_notes_say() -> None:
    rows = dict(re.findall(r"^\| (\d\d) (\|.*)\|$", PART, re.MULTILINE))
    for path in sorted(ROOT.glob("notebooks/*/*.ipynb")):
        lecture, lab = rows[path.stem[:2]].split("|")[1:]
        found = {"Lecture": re.findall(r"(\d) ", lecture), "Lab": re.findall(r"(\d) ", lab)}
        said: dict[str, list[str]] = {"Lecture": [], "Lab": []}
        for cell in nbformat.read(path, as_version=4).cells:
            if prompt := re.search(r"### Exercise (\d)", cell.source):
                (place,) = re.findall(r"\b(Lecture|Lab): ", cell.metadata["notes"])
                said[place].append(prompt[1])
        assert found == said, path.stem


def test_every_place_of_the_house_is_there() -> None:
    """The table of CONTRIBUTING names all of the package, and nothing that is not there."""
    house = GUIDE.split("## The house")[1].split("**Floors.**")[0]
    named = {ROOT / path for path in re.findall(r"`(cnnlab/[\w/.]+|data/)`", house)}
    assert [path for path in named if not path.exists()] == []
    there = {path for path in (ROOT / "cnnlab").iterdir() if not path.name.startswith("_")}
    code = {path for path in there if path.suffix == ".py" or path.is_dir()}
    assert code - named == set()


def test_the_floors_it_draws_are_those_that_are_checked() -> None:
    drawn = GUIDE.split("**Floors.**")[1].split("```")[1]
    floors = [set(re.findall(r"\w+", floor)) for floor in drawn.split("→")]
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (layers,) = re.findall(r"^layers = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert floors == [set(re.findall(r"\w+", line)) for line in layers.strip().splitlines()]


def test_files_that_are_named_are_there() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("data/*.md"), ROOT / "pyproject.toml"]
    named = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"\b(?:tests|cnnlab|notebooks)/[\w/]+\.\w+", page.read_text("utf-8"))
    }
    assert named and [each for each in named if not (ROOT / each[1]).exists()] == []
