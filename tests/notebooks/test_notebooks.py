"""Anatomy of the notebooks: what every lesson promises, whoever wrote it."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from statistics import median

import nbformat
import pytest
from repository import NOTEBOOKS

SLIDE_TYPES = {"slide", "subslide", "fragment", "skip", "notes", "-"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def constants_of(cell):
    """The names that a cell of settings assigns, or None if it does anything else."""
    body = ast.parse(cell.source).body
    if not body or not all(isinstance(line, ast.Assign) for line in body):
        return None
    targets = [name for line in body for target in line.targets for name in ast.walk(target)]
    return [name.id for name in targets if isinstance(name, ast.Name)]


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_it_is_valid_and_stripped(notebook):
    nbformat.validate(notebook)
    for cell in code_of(notebook):
        assert not cell.outputs and cell.execution_count is None
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_25_to_50_cells_short_ones(notebook):
    assert 25 <= len(notebook.cells) <= 50
    lines = [len(cell.source.splitlines()) for cell in code_of(notebook)]
    # lesson 02 writes out the blocks of fifteen networks: its cells are classes
    usual = 17 if notebook.cells[0].source.startswith("# 02") else 8
    assert max(lines) <= 20 and median(lines) <= usual


def test_every_cell_has_a_place_in_the_slides(notebook):
    for cell in notebook.cells:
        assert cell.metadata.get("slideshow", {}).get("slide_type") in SLIDE_TYPES, cell.source[:60]


def test_opening(notebook):
    title, outcomes, setup, imports, settings = notebook.cells[:5]
    assert re.match(r"# \d\d · ", title.source) and re.search(r"\d+ minutes", title.source)
    assert "?" in title.source, "no driving question"
    assert title.metadata.slideshow.slide_type == "slide"
    assert 3 <= len(re.findall(r"^- \*\*\w+\*\*", outcomes.source, re.M)) <= 5
    assert setup.source.startswith("# @title") and setup.metadata["jupyter"]["source_hidden"]
    for piece in ("cnnlab", "set_seed(0)", "get_device()", "versions("):
        assert piece in imports.source
    # under nbmake, where solutions are filled in, a wrong answer must stop the notebook
    assert "os.environ['CNNLAB_STRICT'] = '1'" in imports.metadata["nbmake"]["post_cell_execute"]
    names = constants_of(settings)
    assert names and all(name.isupper() or name == "range" for name in names)


def test_settings_are_defined_once_at_the_top(notebook):
    later = [cell for cell in code_of(notebook) if cell not in notebook.cells[:5]]
    wanted = set(constants_of(notebook.cells[4]))
    text = "\n".join(cell.source for cell in later)
    assert [name for name in wanted if not re.search(rf"\b{name}\b", text)] == []
    assigned = {
        node.id
        for cell in later
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert wanted & assigned == set(), "settings that a later cell changes"


def test_claims_are_short_and_ask_for_a_prediction(notebook):
    predictions = 0
    for text in text_of(notebook):
        predictions += "*Predict first:" in text
        if text.startswith("## ") and not re.search("## (What to take home|After)", text):
            prose = re.sub(r"[*_`#$]", "", text)
            assert len(prose.split()) <= 130, text[:60]
    assert predictions >= 3


PENDING = re.compile("0[58]_")  # lessons that are not rewritten yet


def test_what_you_should_see_is_asserted(notebook, request):
    """Some cell between a claim and the one before holds assertions, each with its sentence."""
    if PENDING.match(request.node.callspec.id):
        request.applymarker(pytest.mark.xfail)
    asserted = []
    for cell in notebook.cells:
        lines = cell.metadata.get("nbmake", {}).get("post_cell_execute", [])
        assertions = [x for x in ast.walk(ast.parse("\n".join(lines))) if isinstance(x, ast.Assert)]
        assert all(assertion.msg for assertion in assertions), "an assertion without a sentence"
        asserted += assertions
        if "What you should see" in cell.source:
            assert asserted, cell.source[:80]
            asserted = []


def test_exercises_have_prompt_stub_check_and_folded_solution(notebook):
    cells = notebook.cells
    prompts = [i for i, cell in enumerate(cells) if "### Exercise" in cell.source]
    assert 2 <= len(prompts) <= 3
    for i in prompts:
        stub, check, solution = cells[i + 1 : i + 4]
        assert "Predict first" in cells[i].source
        (injected,) = stub.metadata["nbmake"]["post_cell_execute"]
        name = re.match(r"(\w+) = ex\.\1\.reference$", injected)[1]
        assert "NotImplementedError" in stub.source or "= None" in stub.source
        assert f"ex.{name}.check({name})" in check.source
        assert solution.source.rstrip().endswith(f"ex.{name}.solution()")
        assert solution.metadata["jupyter"]["source_hidden"]


def test_ending(notebook):
    texts = text_of(notebook)
    assert any(t.startswith("## What to take home") for t in texts)
    quiz = next(t for t in texts if "### Quiz" in t)
    assert 5 <= quiz.count("<details>") <= 8
    assert quiz.count("<details>") == quiz.count("</details>") == quiz.count("<summary>")
    references = texts[-1].split("### References")[1]
    entries = re.findall(r"^- .*", references, re.M)
    assert entries and all(re.search(r"\((1[89]|20)\d\d\)", entry) for entry in entries)


def test_nothing_remote_and_no_magic(notebook):
    for cell in notebook.cells:
        assert not re.search(r"<img[^>]+https?:|!\[[^]]*\]\(https?:", cell.source)
        assert not re.search(r"<iframe|%pylab|%matplotlib|import \*", cell.source)
        assert not cell.get("attachments")


def test_every_figure_has_an_alternative_text(notebook):
    for cell in code_of(notebook):
        drawing = re.search(r"\b\w+\.(plot_|show_images|draw_network)", cell.source)
        if drawing:
            assert "cnnlab.describe(" in cell.source, cell.source[:80]
        if "live_plot=True" in cell.source:
            assert len(cell.metadata["alt"]) > 20


def test_headings_do_not_jump(notebook):
    levels = [len(m) for t in text_of(notebook) for m in re.findall(r"^(#+) ", t, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
