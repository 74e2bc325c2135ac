"""What every benchmark needs: pictures in a folder, and somebody to report to."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import scoreboard
import torch

import cnnlab
from cnnlab.data import downloads, folders
from cnnlab.data.insects import CLASSES
from cnnlab.data.splits import Split


class Pictures(NamedTuple):
    """A folder train/… and val/… with one subfolder a class, and what is in it."""

    folder: Path
    kind: str


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """The 397 photographs where they can be had, otherwise as many drawings."""
    try:
        folder = downloads.fetch("ants_and_bees", progress=False, hurry=True)
        return Pictures(folder, "photographs")
    except downloads.DownloadError:
        folder = tmp_path_factory.mktemp("drawn")
    for part, count, seed in (("train", 244, 1), ("val", 153, 2)):
        insects = cnnlab.draw_insects(count, size=256, seed=seed)
        images, labels = torch.from_numpy(insects.images), torch.from_numpy(insects.labels)
        split = Split(images, labels, classes=list(CLASSES))
        folders.write_image_folder(split, folder / part)
    return Pictures(folder, "drawings")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread, so that CPU time means something on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture) -> Callable[..., None]:
    """Print a row, keep it, and fail if its target is missed."""
    command = shlex.join(["pytest", *request.config.invocation_params.args])

    def enter(*args: object, **kwargs: object) -> None:
        row = scoreboard.Row(*args, **kwargs)  # type: ignore[arg-type]
        with capsys.disabled():
            print(f"\n{row}")
        scoreboard.enter(row, command)
        if not row.met:
            pytest.fail(f"target missed: {row}", pytrace=False)

    return enter
