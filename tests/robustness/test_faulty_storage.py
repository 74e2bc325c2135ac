"""Many processes, killed ones, full and read-only disks, no home: what is kept, what is said."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer

from cnnlab.data import downloads

NAMES = [f"hymenoptera_data/{part}/{kind}/{i}.jpg" for part in ("train", "val")
         for kind in ("ants", "bees") for i in range(10)]  # fmt: skip
PROCESSES = 16


def photograph(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest() * 200


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """A zip of forty small 'photographs'; their list lies where `prelude` looks for it."""
    lines = (f"{hashlib.sha256(photograph(name)).hexdigest()}  {name}\n" for name in NAMES)
    (tmp_path / "ants_and_bees.sha256").write_text("".join(lines))
    (tmp_path / "resources.json").write_bytes(downloads.packaged("resources.json").read_bytes())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in NAMES:
            file.writestr(name, photograph(name))
    return buffer.getvalue()


def run(code: str, folder: Path, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a Python in which these forty photographs are the known ones."""
    prelude = f"""
import sys
from pathlib import Path
from cnnlab.data import downloads
downloads.TIMEOUT = 60
downloads.packaged = Path({str(folder)!r}).joinpath
"""
    command = [*before, sys.executable, "-c", prelude + textwrap.dedent(code)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy()
    )


# --------------------------------------------------------------------------------- many processes


FETCH = "print(downloads.fetch('ants_and_bees', progress=False))"


def test_sixteen_processes_at_once_and_one_of_them_killed(
    own_cache: Path,
    archive: bytes,
    server: MisbehavingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All have half of the archive when one is killed; nobody ever sees a part of anything."""
    server.files["hymenoptera_data.zip"] = archive
    monkeypatch.setenv("CNNLAB_MIRROR", server.url("gate"))
    seen: list[bytes] = []
    finished = threading.Event()

    def look() -> None:
        places = [own_cache / "hymenoptera_data.zip", own_cache / NAMES[0], own_cache / NAMES[-1]]
        while not finished.is_set():
            seen.extend(place.read_bytes() for place in places if place.exists())
            time.sleep(0.001)

    processes = [run(FETCH, tmp_path) for _ in range(PROCESSES)]
    reader = threading.Thread(target=look)
    reader.start()
    try:
        limit = time.monotonic() + 120
        # glob.glob, unlike Path.glob, does not mind a folder that goes while it looks
        while len(glob.glob(f"{own_cache}/.unfinished-*/*")) < PROCESSES:
            assert time.monotonic() < limit and all(p.poll() is None for p in processes)
            time.sleep(0.01)
        processes[3].kill()
        processes[3].wait()
        server.gate.set()
        outputs = [process.communicate(timeout=300)[0].strip() for process in processes]
    finally:
        finished.set()
        reader.join()
        for process in processes:
            process.kill()
    assert outputs.pop(3) == "" and processes.pop(3).returncode != 0
    assert set(outputs) == {str(own_cache / "hymenoptera_data")}
    assert [process.returncode for process in processes] == [0] * (PROCESSES - 1)
    assert {len(content) for content in seen} <= {len(archive), len(photograph(NAMES[0]))}
    for name in NAMES:
        assert (own_cache / name).read_bytes() == photograph(name)
    left = sorted(path.name.split("-")[0] for path in own_cache.iterdir())
    assert left == [".unfinished", "hymenoptera_data", "hymenoptera_data.zip"]  # the victim's


def test_a_process_killed_while_unpacking_leaves_nothing_that_is_taken_for_all(
    own_cache: Path, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_cache.mkdir()
    (own_cache / "hymenoptera_data.zip").write_bytes(archive)
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    slow = """
        import os, time
        def slow_replace(source, target):
            os.rename(source, target)
            time.sleep(0.05)
        downloads.os = type(sys)("slow_os")
        downloads.os.__dict__.update(os.__dict__, replace=slow_replace)
    """
    victim = run(textwrap.dedent(slow) + FETCH, tmp_path)
    while len(list(own_cache.glob("hymenoptera_data/*/*/*"))) < 5:
        assert victim.poll() is None
        time.sleep(0.005)
    victim.kill()
    victim.communicate()
    there = [name for name in NAMES if (own_cache / name).exists()]
    assert 5 <= len(there) < len(NAMES)
    assert all((own_cache / name).read_bytes() == photograph(name) for name in there)
    output, _ = run("print(downloads.find('ants_and_bees'))", tmp_path).communicate(timeout=300)
    assert output.strip() == "None"
    output, _ = run(FETCH, tmp_path).communicate(timeout=300)
    assert output.strip() == str(own_cache / "hymenoptera_data")
    assert all((own_cache / name).read_bytes() == photograph(name) for name in NAMES)


# ------------------------------------------------------------------------------------------- disks


def has_namespaces() -> bool:
    """Tell whether this machine lets us mount a small disk that only our own process sees."""
    if not shutil.which("unshare"):
        return False
    trial = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True).returncode == 0


small_disks = pytest.mark.skipif(not has_namespaces(), reason="needs unshare and tmpfs (Linux)")


def on_a_disk(folder: Path, options: str) -> tuple[str, ...]:
    """What to put before a command so that `folder` is a disk of its own for it."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    return ("unshare", "--mount", "--map-root-user", "sh", "-c", mount, str(folder))


@small_disks
@pytest.mark.parametrize("room", ["64k", "400k"])
def test_a_full_disk_is_told_with_its_path(
    own_cache: Path,
    archive: bytes,
    server: MisbehavingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: str,
) -> None:
    """64 kB are too few for the archive, 400 kB for archive and photographs together."""
    server.files["hymenoptera_data.zip"] = archive
    assert 200_000 < len(archive) < 300_000
    monkeypatch.setenv("CNNLAB_MIRROR", server.url("good"))
    code = """
        import os
        try:
            downloads.fetch("ants_and_bees", progress=False)
        except downloads.DownloadError as error:
            print(repr(str(error)))
        print(sorted(path.name for path in downloads.data_folder().iterdir()))
    """
    output, _ = run(code, tmp_path, on_a_disk(own_cache, f"size={room}")).communicate(timeout=300)
    message, left = output.strip().splitlines()
    assert str(own_cache) in message and "No space left" in message and "CNNLAB_DATA" in message
    assert left == "[]"


@small_disks
def test_with_a_read_only_home_the_lesson_goes_on_with_drawings(
    own_cache: Path, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.delenv("CNNLAB_DATA")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    monkeypatch.setenv("CNNLAB_MIRROR", str(tmp_path))
    (tmp_path / "hymenoptera_data.zip").write_bytes(b"would be tried")
    code = """
        import cnnlab
        print(len(cnnlab.load_ants_and_bees("auto", image_size=16).train))
        cnnlab.record("09", "a result", 1.0)
        try:
            downloads.fetch("ants_and_bees")
        except downloads.DownloadError as error:
            print(error)
    """
    output, _ = run(code, tmp_path, on_a_disk(home, "ro")).communicate(timeout=300)
    assert "Data: 844 drawn ants and bees ([Errno 30] Read-only file system" in output
    assert "\n195\n" in output
    assert "this result could not be kept" in output
    assert f"{home}/.cache" in output and "CNNLAB_DATA" in output and "Traceback" not in output


@small_disks
def test_without_any_home_the_lesson_goes_on_with_drawings(
    own_cache: Path, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user whom the machine does not know, as in some containers."""
    for name in ("CNNLAB_DATA", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    code = """
        import cnnlab
        from cnnlab.lessons import results
        print(len(cnnlab.load_ants_and_bees("auto", image_size=16).train))
        cnnlab.record("09", "a result", 1.0)
        results.recorded()
        try:
            downloads.fetch("ants_and_bees")
        except downloads.DownloadError as error:
            print(error)
    """
    nobody = ("unshare", "--user", "--map-user=54321")
    output, _ = run(code, tmp_path, nobody).communicate(timeout=300)
    assert "Data: 844 drawn ants and bees (no home folder)" in output and "\n195\n" in output
    assert "no home folder: set CNNLAB_DATA" in output and "Traceback" not in output
