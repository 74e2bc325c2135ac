"""The evening before class: everything done once, and what will need the network tomorrow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnlab.data import downloads
from cnnlab.publish import catalog, running, site
from cnnlab.publish.doctor import CHECKS, GIGABYTE, Check, Finding

__all__ = ["checks_for_class"]

MEGABYTE = 1e6
ALWAYS_ONLINE = (
    "Colab, in every session; students who install cnnlab tomorrow (on Linux up to 5.5 GB each);"
    " weights of networks other than those above"
)


def checks_for_class(notebooks: Sequence[Path], folder: Path) -> dict[str, Check]:
    """Return all checks of the doctor, and a rehearsal of `notebooks` that writes into `folder`.

    Examples
    --------
    >>> list(checks_for_class([], Path("build")))[-2:]
    ['Rehearsal, with the network forbidden', 'Tomorrow']
    """
    runs: list[running.Run] = []
    return {
        "Fetching": fetch,
        **CHECKS,
        "Rehearsal, with the network forbidden": lambda: rehearse(runs, notebooks, folder),
        "Tomorrow": lambda: tomorrow(runs, folder),
    }


def fetch() -> Iterator[Finding]:
    """Download what is not here yet; the reasons for a failure go to standard error."""
    os.environ.update(downloads.absolute_environment())  # kernels start in the notebooks' folders
    if catalog.fetch_all(catalog.everything()):
        yield Finding("ok", "fetched", "everything that the lessons can use")
    else:
        advice = "with another network, or with CNNLAB_MIRROR: cnnlab fetch --all"
        yield Finding("note", "fetched", "not everything; the reasons stand above", advice)


def rehearse(runs: list[running.Run], notebooks: Sequence[Path], folder: Path) -> Iterator[Finding]:
    """Run every notebook without the network, write its page and its slides, take the time."""
    before = os.environ.get("CNNLAB_OFFLINE", "")
    os.environ["CNNLAB_OFFLINE"] = "1"  # kernels inherit it: what needs the network fails now
    try:
        runs += running.run_notebooks(notebooks, folder, write=site.write_lesson)
    finally:
        os.environ["CNNLAB_OFFLINE"] = before
    for run in runs:
        number, _, topic = run.name.partition("_")
        text = f"{topic}: {run.seconds:.0f} s, {run.peak_bytes / MEGABYTE:,.0f} MB of memory"
        if run.state == "ok":
            yield Finding("ok", f"lesson {number}", text)
        else:
            problem = run.error.strip().split("\n")[-1]
            advice = f"cnnlab run {number} tells where"
            yield Finding("stop", f"lesson {number}", f"{topic} failed: {problem}", advice)
    minutes = sum(run.seconds for run in runs) / 60
    yield Finding("ok", "together", f"{minutes:.1f} minutes for {len(runs)} lessons")
    index = site.write_site_index(notebooks, folder)
    yield Finding("ok", "pages, slides", str(index))


def tomorrow(runs: list[running.Run], folder: Path) -> Iterator[Finding]:
    """What will need the network and what will not, and the room that all of it takes."""
    if runs and all(run.state == "ok" for run in runs):
        yield Finding("ok", "no network", "lessons, exercises, pages, slides: they ran without")
    here = {name: downloads.find(name) for name in downloads.resources()}
    here[catalog.WEIGHTS] = catalog.find_weights(catalog.WEIGHTS)
    for name, place in here.items():
        if place:
            yield Finding("ok", "no network", f"{name}: it is on this machine")
        else:
            text = f"{name}: it is not here, and the lessons will use a stand-in"
            yield Finding("note", "network", text, f"cnnlab fetch {name}, or set CNNLAB_MIRROR")
    yield Finding("ok", "network", ALWAYS_ONLINE)
    taken = [_megabytes(place) for place in (downloads.data_folder(), folder)]
    free = shutil.disk_usage(folder).free / GIGABYTE
    text = f"data {taken[0]:,.0f} MB, pages and slides {taken[1]:,.0f} MB; {free:.1f} GB free"
    yield Finding("ok", "disk", text)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MEGABYTE
