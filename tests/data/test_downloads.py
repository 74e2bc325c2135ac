"""One file from one place: every way in which a server can fail."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer

from cnnlab.data import transfers as downloads
from cnnlab.data.transfers import Patience, TransferError, transfer

BODY = bytes(range(256)) * 400
QUICK = Patience(attempts=3, pause=0.01, answer=0.5, grace=0.2, speed=10_000)


def check(path: Path) -> None:
    if path.read_bytes() != BODY:
        raise ValueError("not the right bytes")


def bring(url: str, target: Path, size: int | None = len(BODY)) -> None:
    transfer(url, target, check, size=size, patience=QUICK, progress=False)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


@pytest.fixture(autouse=True)
def body(server: MisbehavingServer) -> None:
    server.files = {"file.bin": BODY, "file.bin.gz": gzip.compress(BODY)}


def test_a_good_server_gives_the_file(server: MisbehavingServer, target: Path) -> None:
    bring(server.url("good", "file.bin"), target)
    assert target.read_bytes() == BODY
    assert len(server.asked) == 1


def test_other_users_can_read_the_file(server: MisbehavingServer, target: Path) -> None:
    bring(server.url("good", "file.bin"), target)
    assert target.stat().st_mode & 0o044 == 0o044


def test_a_busy_server_is_asked_again(server: MisbehavingServer, target: Path) -> None:
    bring(server.url("busy", "file.bin"), target)
    assert target.read_bytes() == BODY
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("behavior", "reason", "requests"),
    [
        ("missing", "404", 1),
        ("forbidden", "403", 1),
        ("login", "web page", 1),
        ("circle", "circles", None),
        ("half", "cut off", 3),
        ("half_unannounced", "not the right bytes", 3),
        ("hangup", "no connection", 3),
        ("wrong", "not the right bytes", 3),
        ("silence", "no answer within 0.5 s", 3),
        ("pause", "no answer within 0.5 s", 3),
        ("trickle", "too slow", 1),
        ("endless", "too many for this file", 1),
    ],
)
def test_a_bad_server_is_named_and_leaves_nothing(
    server: MisbehavingServer, target: Path, behavior: str, reason: str, requests: int | None
) -> None:
    started = time.monotonic()
    with pytest.raises(TransferError, match=reason):
        bring(server.url(behavior, "file.bin"), target)
    assert time.monotonic() - started < 10
    assert requests in (None, len(server.asked))
    assert list(target.parent.iterdir()) == []


def test_nobody_listens(server: MisbehavingServer, target: Path) -> None:
    server.server_close()
    with pytest.raises(TransferError, match="no connection"):
        bring(server.url("good", "file.bin"), target)


def test_an_unknown_host_is_not_waited_for(target: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TransferError, match=r"no connection|no answer"):
        bring("http://no-such-host.invalid/file.bin", target)
    assert time.monotonic() - started < 3 * QUICK.answer + 2


def test_gzip_is_unpacked_on_the_way(server: MisbehavingServer, target: Path) -> None:
    bring(server.url("good", "file.bin.gz"), target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("behavior", ["half_unannounced", "wrong"])
def test_damaged_gzip_is_refused(server: MisbehavingServer, target: Path, behavior: str) -> None:
    with pytest.raises(TransferError, match=r"gzip|not the right bytes"):
        bring(server.url(behavior, "file.bin.gz"), target)
    assert not target.exists()


def test_a_folder_is_copied_from(tmp_path: Path, target: Path) -> None:
    original = tmp_path / "usb-stick" / "file.bin"
    original.parent.mkdir()
    original.write_bytes(BODY)
    bring(str(original), target)
    assert target.read_bytes() == BODY


def test_a_folder_without_the_file_is_named_so(tmp_path: Path, target: Path) -> None:
    with pytest.raises(TransferError, match="no such file"):
        bring(str(tmp_path / "other.bin"), target)
    with pytest.raises(TransferError, match="cannot be read"):
        bring(str(tmp_path), target)


def test_the_progress_bar_shows_name_and_share(
    server: MisbehavingServer, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files["slow.bin"] = bytes(40)
    calm = Patience(attempts=1)
    url = server.url("trickle", "slow.bin")
    transfer(url, target, lambda path: None, size=40, patience=calm)
    shown = capsys.readouterr().err
    assert "slow.bin: 100%" in shown
    assert "40.0/40.0" in shown


def test_no_progress_bar_for_what_fails_at_once(
    server: MisbehavingServer, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TransferError):
        transfer(server.url("missing", "file.bin"), target, check, patience=QUICK)
    assert capsys.readouterr().err == ""


def test_a_class_is_not_kept_waiting() -> None:
    assert downloads.HURRIED.attempts == 1
    assert downloads.HURRIED.answer <= 5
