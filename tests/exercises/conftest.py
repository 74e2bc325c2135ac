"""What the check of an exercise says, with the switch for CI off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cnnlab.exercises.engine import Exercise


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_STRICT", raising=False)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[Exercise, Any], str]:
    """Return what the check of an exercise prints about an answer."""

    def check(task: Exercise, answer: Any) -> str:
        task.check(answer)
        return capsys.readouterr().out

    return check
