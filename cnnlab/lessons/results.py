"""All lessons: the numbers they stand for, kept so that the summary shows the day on one page.

Each lesson records a few of its results with :func:`record`; lesson 07 reads them with
:func:`recorded`. Numbers that this machine has not computed yet come from
``data/published/lesson_results.json``, written by the project's own run of all lessons:
``python -m cnnlab.lessons.results``. They are kept in ``CNNLAB_RESULTS``, or without that in the
folder ``results`` beside the downloads.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from cnnlab.data.downloads import DownloadError, data_folder, packaged
from cnnlab.runtime import write_atomically

__all__ = ["Result", "record", "recorded"]

PUBLISHED = ("published", "lesson_results.json")


@dataclass(frozen=True)
class Result:
    """One number of one lesson.

    Attributes
    ----------
    lesson : str
        Two digits, such as "03".
    name : str
        What was measured, such as "Dice on unseen drawings".
    value : float
        A plain number, or a share of 1 where ``unit`` is "%".
    low, high : float or None
        Ends of its 95 % interval.
    unit : str
        "%", "s", "pixels" or nothing.
    source : str
        On which data.
    date : str
        When, as 2026-11-22.
    here : bool
        Whether this machine computed it.
    """

    lesson: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    source: str = ""
    date: str = ""
    here: bool = False

    def __str__(self) -> str:
        """Return the number as it is read aloud.

        Examples
        --------
        >>> print(Result("09", "frozen backbone", 0.837, 0.770, 0.887, "%"))
        83.7 % (77.0 to 88.7)
        >>> print(Result("06", "field of ResNet-50", 427, unit="pixels"))
        427 pixels
        """
        numbers = [x for x in (self.value, self.low, self.high) if x is not None]
        words = [_write_number(x, self.unit) for x in numbers]
        interval = f" ({words[1]} to {words[2]})" if len(words) == 3 else ""
        return f"{words[0]} {self.unit}".rstrip() + interval


def _write_number(number: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * number:.1f}"
    return f"{number:,.0f}" if number == int(number) else f"{number:,.4g}"


def record(
    lesson: str,
    name: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
    *,
    unit: str = "",
    source: str = "",
) -> None:
    """Keep a result of a lesson for the summary; an older one of that name is replaced.

    Parameters
    ----------
    lesson : str
        Two digits.
    name, value, low, high, unit, source
        See :class:`Result`.

    Raises
    ------
    ValueError
        If the lesson is not two digits.

    Examples
    --------
    >>> record("06", "theoretical field of layer4", 167, unit="pixels")  # doctest: +SKIP
    """
    if not re.fullmatch(r"\d\d", lesson):
        raise ValueError(f"a lesson is two digits, such as '03', not {lesson!r}")
    today = date.today().isoformat()
    result = Result(lesson, name, float(value), low, high, unit, source, today)
    try:
        path = _folder() / f"{lesson}.json"
        others = [old for old in _read(path) if old.name != name]
        _write(path, [*others, result])
    except (OSError, RuntimeError) as error:
        print(f"(this result could not be kept for lesson 07: {error})")  # no reason to stop


def recorded() -> list[Result]:
    """Return the results of all lessons in order: this machine's own where it has them.

    Examples
    --------
    >>> lessons = [result.lesson for result in recorded()]
    >>> lessons == sorted(lessons)
    True
    """
    found = {(r.lesson, r.name): r for r in _read(packaged(*PUBLISHED))}
    with suppress(DownloadError):  # no home folder: then there are no results of this machine
        for path in sorted(_folder().glob("??.json")):
            found |= {(r.lesson, r.name): r for r in _read(path, here=True)}
    return sorted(found.values(), key=lambda result: result.lesson)


def _folder() -> Path:
    chosen = os.environ.get("CNNLAB_RESULTS")
    return Path(chosen) if chosen else data_folder() / "results"


def _read(path: Path, *, here: bool = False) -> list[Result]:
    """Read results; a file that is missing or damaged counts as empty, it is only a cache."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Result(**{**row, "here": here}) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def _write(path: Path, results: list[Result]) -> None:
    """Replace a file of results at once: two kernels may write at the same time."""
    rows = [{k: v for k, v in asdict(r).items() if k != "here"} for r in results]
    write_atomically(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Publish this machine's results with the package."""
    own = [result for result in recorded() if result.here]
    if not own:
        raise SystemExit("no lesson has been run here: `cnnlab run` first")
    _write(packaged(*PUBLISHED), own)
    print(f"{len(own)} results of {len({r.lesson for r in own})} lessons published")


if __name__ == "__main__":
    main()
