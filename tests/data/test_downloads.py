"""Cache, mirror, public address, in this order; nothing wrong is ever kept."""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer

from cnnlab.data import downloads
from cnnlab.data.downloads import DownloadError, check_sha256, fetch, find

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()
NAMES = [f"hymenoptera_data/{part}/{kind}/1.jpg" for part in ("train", "val") for kind in "ab"]


def get(url: str, digits: str = SHA256, *, progress: bool = False, hurry: bool = False) -> Path:
    return downloads.download("weights/x.pth", url, partial(check_sha256, digits), progress, hurry)


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def body(own_cache: Path, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files = {"x.pth": BODY, "weights/x.pth": BODY, "x.pth.gz": gzip.compress(BODY)}
    monkeypatch.setattr(downloads, "TIMEOUT", 0.4)


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
    assert downloads.data_folder() == tmp_path / "data"
    settings = downloads.absolute_environment()
    monkeypatch.chdir("/")
    assert settings["CNNLAB_DATA"] == str(tmp_path / "data")
    assert Path(settings["CNNLAB_MIRROR"]).resolve() == tmp_path.parent / "stick"


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", "~/lecture")
    assert downloads.data_folder() == Path.home() / "lecture"


def test_without_a_setting_the_platform_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_DATA")
    assert downloads.data_folder().is_absolute()
    assert "cnnlab" in downloads.data_folder().parts
    assert downloads.absolute_environment() == {}


def test_no_home_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", "~nobody-of-this-name/data")
    with pytest.raises(DownloadError, match="no home folder: set CNNLAB_DATA"):
        downloads.data_folder()


def test_a_mirror_is_a_folder_or_a_web_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", "http://10.0.0.1:8000/")
    assert downloads.mirror() == "http://10.0.0.1:8000"
    monkeypatch.setenv("CNNLAB_MIRROR", "ftp://10.0.0.1")
    with pytest.raises(ValueError, match=r"CNNLAB_MIRROR=ftp://10\.0\.0\.1"):
        downloads.mirror()


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False)])
def test_offline_is_a_switch(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", value)
    assert downloads.offline() is expected


# ---------------------------------------------------------------------------- one file, one server


def test_a_file_comes_once_and_stays(own_cache: Path, server: MisbehavingServer) -> None:
    for _ in range(2):
        assert get(server.url("good", "x.pth")) == own_cache / "weights" / "x.pth"
    assert server.asked == ["/good/x.pth"]
    assert files_below(own_cache) == ["x.pth"]


def test_other_users_can_read_the_file(server: MisbehavingServer) -> None:
    assert get(server.url("good", "x.pth")).stat().st_mode & 0o044 == 0o044


def test_a_busy_server_is_asked_again(server: MisbehavingServer) -> None:
    assert get(server.url("busy", "x.pth")).read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_waiting_class_is_spared_the_second_time(server: MisbehavingServer) -> None:
    with pytest.raises(DownloadError, match="503"):
        get(server.url("busy", "x.pth"), hurry=True)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        ("missing", "404"),
        ("forbidden", "403"),
        ("broken", "500"),
        ("login", "log-in page of the Wi-Fi"),
        ("circle", "redirects"),
        ("half", "wrong checksum|Connection broken"),
        ("half_unannounced", "wrong checksum"),
        ("hangup", "no connection"),
        ("wrong", "wrong checksum"),
        ("silence", "timed out"),
        ("pause", "no connection"),
        ("trickle", "too slow"),
    ],
)
def test_a_bad_server_is_named_and_leaves_nothing(
    own_cache: Path, server: MisbehavingServer, behavior: str, reason: str
) -> None:
    started = time.monotonic()
    url = server.url(behavior, "x.pth")
    with pytest.raises(DownloadError, match=reason) as caught:
        get(url, hurry=True)
    assert url in str(caught.value)
    assert time.monotonic() - started < 5
    assert files_below(own_cache) == []


def test_nobody_listens(server: MisbehavingServer) -> None:
    server.server_close()
    with pytest.raises(DownloadError, match="no connection"):
        get(server.url("good", "x.pth"))


def test_an_unknown_host_is_told_in_few_words() -> None:
    with pytest.raises(DownloadError) as caught:
        get("http://no-such-host.invalid/x.pth", hurry=True)
    assert caught.value.reason == "no connection"


def test_gzip_is_unpacked_on_the_way(own_cache: Path, server: MisbehavingServer) -> None:
    assert get(server.url("good", "x.pth.gz")).read_bytes() == BODY
    assert files_below(own_cache) == ["x.pth"]


@pytest.mark.parametrize("behavior", ["half_unannounced", "wrong"])
def test_damaged_gzip_is_refused(own_cache: Path, server: MisbehavingServer, behavior: str) -> None:
    with pytest.raises(DownloadError, match=r"gzip|end-of-stream|wrong checksum"):
        get(server.url(behavior, "x.pth.gz"))
    assert files_below(own_cache) == []


def test_the_progress_bar_shows_name_and_share(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 10)
    get(server.url("trickle", "x.pth"), progress=True)
    shown = capsys.readouterr().err
    assert "x.pth: 100%" in shown
    assert "102k/102k" in shown


def test_a_silent_download_and_one_that_fails_at_once_show_no_bar(
    server: MisbehavingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    get(server.url("good", "x.pth"), progress=False)
    with pytest.raises(DownloadError):
        get(server.url("missing", "x.pth"), "another", progress=True)
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------- cache, mirror, address


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


def test_offline_asks_nobody(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    monkeypatch.setenv("CNNLAB_MIRROR", server.url("good"))
    with pytest.raises(DownloadError, match="offline") as caught:
        get(server.url("good", "x.pth"))
    assert server.asked == []
    assert caught.value.reason == "offline"


def test_a_folder_is_no_network(on_a_stick: Path) -> None:
    (on_a_stick / "weights").mkdir()
    (on_a_stick / "weights" / "x.pth").write_bytes(BODY)
    assert get("http://no-such-host.invalid/x.pth").read_bytes() == BODY


def test_the_error_tells_every_place_and_what_to_do(
    own_cache: Path, server: MisbehavingServer, on_a_stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE")
    url = server.url("forbidden", "x.pth")
    with pytest.raises(DownloadError) as caught:
        get(url)
    message = str(caught.value)
    for place in (own_cache, on_a_stick, url):
        assert str(place) in message
    for why in ("No such file", "403", "cnnlab fetch", "CNNLAB_MIRROR"):
        assert why in message
    assert files_below(own_cache) == []


def test_the_first_digits_of_a_checksum_are_enough(server: MisbehavingServer) -> None:
    assert get(server.url("good", "x.pth"), SHA256[:8])
    with pytest.raises(DownloadError, match="wrong checksum"):
        get(server.url("missing", "x.pth"), "00000000")


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
    with pytest.raises(DownloadError, match="wrong checksum"):
        get("http://no-such-host.invalid/x.pth")


def test_a_data_folder_that_is_a_file_is_a_clear_error(
    own_cache: Path, server: MisbehavingServer
) -> None:
    own_cache.write_text("in the way")
    with pytest.raises(DownloadError, match="Not a directory"):
        get(server.url("good", "x.pth"))
    assert own_cache.read_text() == "in the way"


def test_an_endless_download_is_given_up(
    own_cache: Path, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", 10**6)
    with pytest.raises(DownloadError, match="too large"):
        get(server.url("endless", "x.pth"))
    assert files_below(own_cache) == []


def test_a_complete_cache_is_only_read(own_cache: Path, server: MisbehavingServer) -> None:
    path = get(server.url("good", "x.pth"))
    before = [(p, p.stat().st_mtime_ns) for p in (own_cache, path.parent, path)]
    own_cache.chmod(0o555)
    get(server.url("good", "x.pth"))
    own_cache.chmod(0o755)
    assert before == [(p, p.stat().st_mtime_ns) for p in (own_cache, path.parent, path)]


# ---------------------------------------------------------------------------------- many processes


def start_fetching(url: str) -> subprocess.Popen[str]:
    code = (
        "from functools import partial; from cnnlab.data.downloads import check_sha256, download\n"
        f"print(download('x.pth', {url!r}, partial(check_sha256, '{SHA256}'), progress=False))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_processes_at_once_get_one_good_file(own_cache: Path, server: MisbehavingServer) -> None:
    processes = [start_fetching(server.url("good", "x.pth")) for _ in range(4)]
    paths = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert paths == {str(own_cache / "x.pth")}
    assert (own_cache / "x.pth").read_bytes() == BODY
    assert files_below(own_cache) == ["x.pth"]


def test_a_killed_process_is_in_nobodys_way(own_cache: Path, server: MisbehavingServer) -> None:
    victim = start_fetching(server.url("pause", "x.pth"))
    while not glob.glob(f"{own_cache}/.unfinished-*/*"):
        assert victim.poll() is None
        time.sleep(0.02)
    os.kill(victim.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    victim.communicate(timeout=60)
    assert not (own_cache / "x.pth").exists()
    again = start_fetching(server.url("good", "x.pth"))
    assert Path(again.communicate(timeout=60)[0].strip()).read_bytes() == BODY


# ---------------------------------------------------------------------------------- ants and bees


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A zip of four small 'photographs' and a stray file, whose checksums the package knows."""
    listed = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in NAMES)
    (tmp_path / "ants_and_bees.sha256").write_text(listed)
    (tmp_path / "resources.json").write_bytes(downloads.packaged("resources.json").read_bytes())
    monkeypatch.setattr(downloads, "packaged", tmp_path.joinpath)
    return zipped({name: name.encode() for name in NAMES} | {f"{NAMES[0]}.gif": b"stray"})


def zipped(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return buffer.getvalue()


def test_photographs_are_unpacked_verified_and_found(
    own_cache: Path, archive: bytes, on_a_stick: Path
) -> None:
    assert find("ants_and_bees") is None
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive)
    folder = fetch("ants_and_bees", progress=False)
    assert folder == own_cache / "hymenoptera_data" == find("ants_and_bees")
    assert (own_cache / NAMES[0]).read_bytes() == NAMES[0].encode()
    assert (own_cache / f"{NAMES[0]}.gif").exists(), "the stray file belongs to the lesson"
    assert list(own_cache.glob(".unfinished-*")) == []


def test_a_cache_is_a_mirror(
    own_cache: Path,
    archive: bytes,
    on_a_stick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive)
    fetch("ants_and_bees", progress=False)
    monkeypatch.setenv("CNNLAB_MIRROR", str(own_cache))
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "another"))
    assert fetch("ants_and_bees", progress=False).is_dir()


@pytest.mark.parametrize("damage", [b"", b"flipped", None])
def test_a_damaged_photograph_is_unpacked_again(
    own_cache: Path, archive: bytes, on_a_stick: Path, damage: bytes | None
) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive)
    fetch("ants_and_bees", progress=False)
    victim = own_cache / NAMES[1]
    victim.unlink()
    if damage is not None:
        victim.write_bytes(damage)
    assert find("ants_and_bees") is None
    (on_a_stick / "hymenoptera_data.zip").unlink()  # the archive in the cache is enough
    fetch("ants_and_bees", progress=False)
    assert victim.read_bytes() == NAMES[1].encode()
    assert list(own_cache.glob(".unfinished-*")) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>log in</html>", "not a zip file"),
        (zipped({"../evil": b"x"}), "outside the folder"),
        (zipped({"hymenoptera_data/a.jpg": b"x"}), "photographs are damaged"),
        (
            zipped({name: name.encode() for name in NAMES} | {NAMES[2]: b"flipped"}),
            f"1 photographs are damaged, such as {NAMES[2]}",
        ),
    ],
)
def test_a_bad_archive_is_not_kept(
    own_cache: Path, archive: bytes, on_a_stick: Path, content: bytes, reason: str
) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(content)
    with pytest.raises(DownloadError, match=reason):
        fetch("ants_and_bees", progress=False)
    assert files_below(own_cache) == []


def test_half_an_archive_is_not_kept(own_cache: Path, archive: bytes, on_a_stick: Path) -> None:
    (on_a_stick / "hymenoptera_data.zip").write_bytes(archive[: len(archive) // 2])
    with pytest.raises(DownloadError, match="not a zip file"):
        fetch("ants_and_bees", progress=False)
    assert files_below(own_cache) == []


def test_an_archive_writes_nothing_beside_the_photographs(
    own_cache: Path, archive: bytes, on_a_stick: Path
) -> None:
    more = {name: name.encode() for name in NAMES} | {"results/09.json": b"made up"}
    (on_a_stick / "hymenoptera_data.zip").write_bytes(zipped(more))
    fetch("ants_and_bees", progress=False)
    assert not (own_cache / "results").exists()


@pytest.mark.photos
def test_the_real_photographs_are_all_here(photos: Path) -> None:
    assert len(list(photos.rglob("*.*"))) == 398
    assert (photos / "train" / "ants" / "imageNotFound.gif").exists()


# --------------------------------------------------------------------------------- other resources


def test_mnist_is_kept_unpacked_where_torchvision_looks(
    own_cache: Path, server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = list(downloads.checksums("mnist"))
    assert keys == list(downloads.resources()["mnist"]["urls"])
    table = downloads.resources()
    table["mnist"]["urls"] = dict.fromkeys(keys, server.url("good", "x.pth.gz"))
    (tmp_path / "resources.json").write_text(json.dumps(table))
    (tmp_path / "mnist.sha256").write_text("".join(f"{SHA256}  {key}\n" for key in keys))
    monkeypatch.setattr(downloads, "packaged", tmp_path.joinpath)
    assert fetch("mnist", progress=False) == own_cache / "MNIST" / "raw"
    assert files_below(own_cache) == sorted(Path(key).name for key in keys)
    assert (own_cache / keys[0]).read_bytes() == BODY
    (own_cache / keys[3]).write_bytes(b"damaged")
    assert find("mnist") is None


def test_the_addresses_and_sizes_are_complete() -> None:
    for resource in downloads.resources().values():
        wanted = {"description", "license", "num_bytes", "folder", "urls"}
        assert set(resource) - {"only_if_asked"} == wanted
        assert all(url.startswith("https://") for url in resource["urls"].values())


def test_an_unknown_resource_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="ants_and_bees, mnist"):
        fetch("cifar")


def test_downloads_start_quickly() -> None:
    code = "import sys, cnnlab.data.downloads; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
