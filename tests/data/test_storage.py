"""Cache, mirror, public address, in this order; nothing wrong is ever kept."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer

from cnnlab.data import resources, storage
from cnnlab.data import transfers as downloads
from cnnlab.data.transfers import Patience

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(attempts=2, pause=0.01, answer=2.0, grace=0.5, speed=10_000)
NAMES = [f"hymenoptera_data/{part}/{kind}/1.jpg" for part in ("train", "val") for kind in "ab"]


def get(*urls: str, known_hash: str | None = f"sha256:{SHA256}") -> Path:
    return storage.download(
        "weights/x.pth", urls, known_hash, size=len(BODY), patience=QUICK, progress=False
    )


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def body(own_cache: Path, server: MisbehavingServer) -> None:
    server.files = {"x.pth": BODY, "weights/x.pth": BODY}


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A zip of four small 'photographs' and a stray file, whose checksums the package knows."""
    listed = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in NAMES)
    (tmp_path / "ants_and_bees.sha256").write_text(listed)
    monkeypatch.setattr(resources, "packaged", tmp_path.joinpath)
    return zipped({name: name.encode() for name in NAMES} | {f"{NAMES[0]}.gif": b"stray"})


def zipped(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def on_a_stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a mirror, with no network."""
    stick = tmp_path / "stick"
    stick.mkdir()
    monkeypatch.setenv("CNNLAB_MIRROR", str(stick))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    return stick


# ---------------------------------------------------------------------------------------- settings


def test_relative_settings_are_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNLAB_DATA", "data")
    monkeypatch.setenv("CNNLAB_MIRROR", "../stick/")
    assert storage.data_folder() == tmp_path / "data"
    settings = storage.absolute_environment()
    monkeypatch.chdir("/")
    assert settings["CNNLAB_DATA"] == str(tmp_path / "data")
    assert Path(settings["CNNLAB_MIRROR"]).resolve() == tmp_path.parent / "stick"


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", "~/lecture")
    assert storage.data_folder() == Path.home() / "lecture"


def test_without_a_setting_the_platform_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_DATA")
    assert storage.data_folder().is_absolute()
    assert "cnnlab" in storage.data_folder().parts
    assert storage.absolute_environment() == {}


def test_no_home_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", "~nobody-of-this-name/data")
    with pytest.raises(storage.StorageError, match="set CNNLAB_DATA"):
        storage.data_folder()


def test_a_mirror_is_a_folder_or_a_web_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", "http://10.0.0.1:8000/")
    assert storage.mirror() == "http://10.0.0.1:8000"
    monkeypatch.setenv("CNNLAB_MIRROR", "ftp://10.0.0.1")
    with pytest.raises(ValueError, match=r"CNNLAB_MIRROR=ftp://10\.0\.0\.1"):
        storage.mirror()


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False)])
def test_offline_is_a_switch(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", value)
    assert storage.offline() is expected


# ---------------------------------------------------------------------------------------- download


def test_a_file_comes_once_and_stays(own_cache: Path, server: MisbehavingServer) -> None:
    for _ in range(2):
        assert get(server.url("good", "x.pth")) == own_cache / "weights" / "x.pth"
    assert server.asked == ["/good/x.pth"]
    assert files_below(own_cache) == ["x.pth"]


def test_the_mirror_is_asked_first(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", server.url("good"))
    get(server.url("missing", "x.pth"))
    assert server.asked == ["/good/weights/x.pth"]


def test_a_broken_mirror_is_passed_over(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", server.url("login"))
    assert get(server.url("good", "x.pth")).read_bytes() == BODY


def test_the_second_address_is_tried(server: MisbehavingServer) -> None:
    assert get(server.url("wrong", "x.pth"), server.url("good", "x.pth")).read_bytes() == BODY


def test_offline_asks_nobody(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    monkeypatch.setenv("CNNLAB_MIRROR", server.url("good"))
    with pytest.raises(storage.DownloadError, match="CNNLAB_OFFLINE is set") as caught:
        get(server.url("good", "x.pth"))
    assert server.asked == []
    assert caught.value.reason == "offline"


def test_a_folder_is_no_network(on_a_stick: Path) -> None:
    (on_a_stick / "weights").mkdir()
    (on_a_stick / "weights" / "x.pth").write_bytes(BODY)
    assert get().read_bytes() == BODY


def test_the_error_tells_every_place_and_what_to_do(
    own_cache: Path, server: MisbehavingServer, on_a_stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE")
    urls = [server.url("forbidden", "x.pth"), server.url("wrong", "x.pth")]
    with pytest.raises(storage.DownloadError) as caught:
        get(*urls)
    message = str(caught.value)
    for place in (own_cache, on_a_stick, *urls):
        assert str(place) in message
    for why in ("not there", "no such file", "403", "wrong checksum", "cnnlab fetch"):
        assert why in message
    assert files_below(own_cache) == []


def test_the_first_digits_of_a_checksum_are_enough(server: MisbehavingServer) -> None:
    assert get(server.url("good", "x.pth"), known_hash=f"sha256:{SHA256[:8]}")
    with pytest.raises(storage.DownloadError, match="damaged: wrong checksum"):
        get(known_hash="sha256:00000000")


@pytest.mark.parametrize("known_hash", ["", "sha256:", "sha256:123"])
def test_a_checksum_that_says_nothing_is_refused(
    server: MisbehavingServer, known_hash: str
) -> None:
    with pytest.raises(storage.DownloadError, match="checksum"):
        get(server.url("good", "x.pth"), known_hash=known_hash)


def test_a_file_damaged_later_is_fetched_again(server: MisbehavingServer) -> None:
    path = get(server.url("good", "x.pth"))
    path.write_bytes(BODY[:1000])
    assert get(server.url("good", "x.pth")).read_bytes() == BODY


def test_a_damaged_file_is_not_used_offline(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    (own_cache / "weights").mkdir(parents=True)
    (own_cache / "weights" / "x.pth").write_bytes(BODY[:1000])
    with pytest.raises(storage.DownloadError, match="damaged: wrong checksum"):
        get()


# ------------------------------------------------------------------------------------------- disks


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named_with_the_bytes_needed(
    own_cache: Path, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_on_full_disk(path: str, mode: str) -> io.IOBase:
        return open("/dev/full" if "w" in mode else path, mode)

    monkeypatch.setattr(downloads, "open", open_on_full_disk, raising=False)
    with pytest.raises(storage.StorageError, match="No space left") as caught:
        get(server.url("good", "x.pth"))
    assert str(own_cache) in str(caught.value)
    assert f"{len(BODY):,} bytes" in str(caught.value)
    assert list(own_cache.iterdir()) == []


def test_a_data_folder_that_is_a_file_is_a_clear_error(
    own_cache: Path, server: MisbehavingServer
) -> None:
    own_cache.write_text("in the way")
    with pytest.raises(storage.StorageError, match="set CNNLAB_DATA"):
        get(server.url("good", "x.pth"))
    assert own_cache.read_text() == "in the way"


def test_a_complete_cache_is_only_read(own_cache: Path, server: MisbehavingServer) -> None:
    path = get(server.url("good", "x.pth"))
    before = [(p, p.stat().st_mtime_ns) for p in (own_cache, path.parent, path)]
    own_cache.chmod(0o555)
    get()
    own_cache.chmod(0o755)
    assert before == [(p, p.stat().st_mtime_ns) for p in (own_cache, path.parent, path)]


def test_what_killed_processes_left_is_swept(own_cache: Path, server: MisbehavingServer) -> None:
    old, new = own_cache / ".unfinished-old", own_cache / ".unfinished-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"x")
    os.utime(old, (time.time() - 2 * storage.STAGING_SECONDS,) * 2)
    get(server.url("good", "x.pth"))
    assert not old.exists()
    assert new.exists()


# --------------------------------------------------------------------------------- many processes


def start_fetching(url: str) -> subprocess.Popen[str]:
    code = (
        "import sys; from cnnlab import storage\n"
        f"print(storage.download('x.pth', [{url!r}], 'sha256:{SHA256}', progress=False))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(storage.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_processes_at_once_get_one_good_file(own_cache: Path, server: MisbehavingServer) -> None:
    processes = [start_fetching(server.url("good", "x.pth")) for _ in range(4)]
    paths = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert paths == {str(own_cache / "x.pth")}
    assert (own_cache / "x.pth").read_bytes() == BODY
    assert files_below(own_cache) == ["x.pth"]


def test_a_killed_process_is_in_nobodys_way(own_cache: Path, server: MisbehavingServer) -> None:
    victim = start_fetching(server.url("pause", "x.pth"))
    while not list(own_cache.glob(".unfinished-*/*")):
        assert victim.poll() is None
        time.sleep(0.02)
    os.kill(victim.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    victim.communicate(timeout=60)
    assert not (own_cache / "x.pth").exists()
    path = storage.download("x.pth", [server.url("good", "x.pth")], SHA256, progress=False)
    assert path.read_bytes() == BODY


# --------------------------------------------------------------------------------- ants and bees


def test_photographs_are_unpacked_verified_and_found(
    own_cache: Path, archive: bytes, on_a_stick: Path
) -> None:
    assert storage.find("ants_and_bees") is None
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive)
    folder = storage.fetch("ants_and_bees", progress=False)
    assert folder == own_cache / "hymenoptera_data" == storage.find("ants_and_bees")
    assert (own_cache / NAMES[0]).read_bytes() == NAMES[0].encode()
    assert (own_cache / f"{NAMES[0]}.gif").exists(), "the stray file belongs to the lesson"


def test_a_cache_is_a_mirror(
    own_cache: Path,
    archive: bytes,
    on_a_stick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive)
    storage.fetch("ants_and_bees", progress=False)
    monkeypatch.setenv("CNNLAB_MIRROR", str(own_cache))
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "another"))
    assert storage.fetch("ants_and_bees", progress=False).is_dir()


@pytest.mark.parametrize("damage", [b"", b"flipped", None])
def test_a_damaged_photograph_is_unpacked_again(
    own_cache: Path, archive: bytes, on_a_stick: Path, damage: bytes | None
) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive)
    storage.fetch("ants_and_bees", progress=False)
    victim = own_cache / NAMES[1]
    victim.unlink()
    if damage is not None:
        victim.write_bytes(damage)
    assert storage.find("ants_and_bees") is None
    (on_a_stick / "hymenoptera_data.zip").unlink()  # the archive in the cache is enough
    storage.fetch("ants_and_bees", progress=False)
    assert victim.read_bytes() == NAMES[1].encode()
    assert list(own_cache.glob(".unfinished-*")) == []


def test_an_archive_with_a_damaged_photograph_names_it(
    own_cache: Path, archive: bytes, on_a_stick: Path
) -> None:
    contents = {name: name.encode() for name in NAMES} | {NAMES[2]: b"flipped"}
    (on_a_stick / "hymenoptera_data.zip").write_bytes(zipped(contents))
    with pytest.raises(storage.DownloadError, match=f"photographs: {NAMES[2]}"):
        storage.fetch("ants_and_bees", progress=False)
    assert files_below(own_cache) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>log in</html>", "not a complete zip file"),
        (zipped({"../evil": b"x"}), "outside the folder"),
    ],
)
def test_a_bad_archive_is_not_kept(
    own_cache: Path, archive: bytes, on_a_stick: Path, content: bytes, reason: str
) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(content)
    with pytest.raises(storage.DownloadError, match=reason):
        storage.fetch("ants_and_bees", progress=False)
    assert files_below(own_cache) == []


def test_half_an_archive_is_not_kept(own_cache: Path, archive: bytes, on_a_stick: Path) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive[: len(archive) // 2])
    with pytest.raises(storage.DownloadError, match="not a complete zip file"):
        storage.fetch("ants_and_bees", progress=False)
    assert files_below(own_cache) == []


@pytest.mark.photos
def test_the_real_photographs_are_all_here(photos: Path) -> None:
    assert len(list(photos.rglob("*.*"))) == 398
    assert (photos / "train" / "ants" / "imageNotFound.gif").exists()


# -------------------------------------------------------------------------------- other resources


def test_mnist_is_kept_unpacked_where_torchvision_looks(
    own_cache: Path, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = storage.RESOURCES["mnist"]
    server.files = {"digits.gz": gzip.compress(BODY)}
    url = server.url("good", "digits.gz")
    files = [
        replace(file, url=url, size=len(BODY), known_hash=f"sha256:{SHA256}")
        for file in mnist.files
    ]
    monkeypatch.setitem(storage.RESOURCES, "mnist", replace(mnist, files=tuple(files)))
    assert storage.fetch("mnist", progress=False) == own_cache / "MNIST" / "raw"
    assert files_below(own_cache) == sorted(Path(file.key).name for file in mnist.files)
    assert (own_cache / mnist.files[0].key).read_bytes() == BODY
    (own_cache / mnist.files[3].key).write_bytes(b"damaged")
    assert storage.find("mnist") is None


def test_an_unknown_resource_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="ants_and_bees, mnist"):
        storage.fetch("cifar")


def test_storage_starts_quickly() -> None:
    code = "import sys, cnnlab.data.storage; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
