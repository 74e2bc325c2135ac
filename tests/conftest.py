"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import executed
import pytest
from hypothesis import settings
from misbehaving_server import MisbehavingServer, running_server

from cnnlab.data import downloads


def pytest_configure(config: pytest.Config) -> None:
    """Make relative paths in the environment absolute: kernels start in the notebook's folder.

    Generated inputs are the same in each run; ``--hypothesis-profile=default`` draws new ones.
    """
    executed.share(config)
    os.environ.update(downloads.absolute_environment())
    settings.register_profile("repeatable", derandomize=True)
    if not config.getoption("--hypothesis-profile", default=None):
        settings.load_profile("repeatable")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder for one test, with no mirror set and the network not forbidden."""
    for name in ("CNNLAB_MIRROR", "CNNLAB_OFFLINE", "CNNLAB_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """A loopback server that misbehaves on cue; see misbehaving_server.py."""
    monkeypatch.setenv("NO_PROXY", "*")
    with running_server() as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """A port for a server that cannot tell which one it was given (jupyter-server 1 cannot)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of the 397 photographs, or a skip that says why they cannot be had."""
    return fetch_or_skip("ants_and_bees")


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The folder of MNIST's four files, or a skip that says why they cannot be had."""
    return fetch_or_skip("mnist")


def fetch_or_skip(name: str) -> Path:
    try:
        return downloads.fetch(name, progress=False, hurry=True)
    except downloads.DownloadError as error:
        pytest.skip(f"{name} cannot be had here ({error.reason}); set CNNLAB_MIRROR")
