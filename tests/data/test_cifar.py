"""CIFAR comes only if asked; nothing of its archives is read before the checksum holds."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from misbehaving_server import MisbehavingServer

from cnnlab import load_cifar10, load_cifar100
from cnnlab.data import cifar, downloads
from cnnlab.data.downloads import DownloadError
from cnnlab.publish.command_line import main

CANARY = "the pickle has run code"
CLASSES = [f"class {i}" for i in range(10)]


class OldPickler(pickle._Pickler):  # type: ignore[name-defined]  # the one written in Python
    """Write texts and bytes alike and name NumPy's old module, as Python 2 did in 2009."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_text(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(b"T" + len(data).to_bytes(4, "little") + data)

    dispatch[str] = dispatch[bytes] = save_text

    def save_global(self, thing: Any, name: str | None = None) -> None:
        module = "numpy.core.multiarray" if thing.__name__ == "_reconstruct" else thing.__module__
        self.write(b"c" + f"{module}\n{name or thing.__name__}\n".encode())

    dispatch[type] = dispatch[type(len)] = dispatch[type(main)] = save_global


def pickled(contents: Any) -> bytes:
    buffer = io.BytesIO()
    OldPickler(buffer, 2).dump(contents)
    return buffer.getvalue()


def batch(count: int, key: str, seed: int, classes: int = 10) -> bytes:
    """The first image of a batch has the red channel `seed`, green 100 and blue 200."""
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    data[0] = np.repeat(np.array([seed, 100, 200], dtype=np.uint8), 1024)
    names = [f"{i}.png" for i in range(count)]
    labels = [i % classes for i in range(count)]
    return pickled({"batch_label": "a batch", key: labels, "data": data, "filenames": names})


def tarred(folder: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def cifar10_files() -> dict[str, bytes]:
    train = {f"data_batch_{i}": batch(20, "labels", i) for i in (4, 1, 5, 3, 2)}
    meta = {"num_cases_per_batch": 20, "label_names": CLASSES, "num_vis": 3072}
    test = batch(30, "labels", 6)
    page = b"<html></html>"
    return {"batches.meta": pickled(meta), "readme.html": page, **train, "test_batch": test}


@pytest.fixture
def publish(
    own_cache: Path, server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Let a small archive be the published one, at an address that behaves as it is told."""
    monkeypatch.setattr(downloads, "TIMEOUT", 0.4)
    monkeypatch.setattr(cifar, "VAL", 20)
    table = downloads.resources()
    monkeypatch.setattr(downloads, "packaged", (tmp_path / "packaged").joinpath)
    (tmp_path / "packaged").mkdir()

    def publish(name: str, archive: bytes, behavior: str = "good", known: str = "") -> None:
        (key,) = table[name]["urls"]
        table[name]["urls"] = {key: server.url(behavior, key)}
        server.files[key] = archive
        (tmp_path / "packaged/resources.json").write_text(json.dumps(table))
        digits = known or hashlib.sha256(archive).hexdigest()
        (tmp_path / f"packaged/{name}.sha256").write_text(f"{digits}  {key}\n")

    return publish


def test_the_published_checksums_are_complete() -> None:
    for name in ("cifar10", "cifar100"):
        ((file, digits),) = downloads.checksums(name).items()
        assert list(downloads.resources()[name]["urls"]) == [file] and len(digits) == 64


def test_nothing_large_comes_unasked(
    publish: Callable[..., None], server: MisbehavingServer
) -> None:
    publish("cifar10", tarred("cifar-10-batches-py", cifar10_files()))
    with pytest.raises(DownloadError, match=r"170 MB.*`cnnlab fetch cifar10`.*download=True"):
        load_cifar10()
    assert server.asked == []


def test_cifar10_comes_when_asked_and_stays(
    publish: Callable[..., None], server: MisbehavingServer, own_cache: Path
) -> None:
    publish("cifar10", tarred("cifar-10-batches-py", cifar10_files()))
    load_cifar10(download=True)
    data = load_cifar10()
    assert server.asked == ["/good/cifar-10-python.tar.gz"]
    assert [path.name for path in own_cache.rglob("*")] == ["cifar-10-python.tar.gz"]
    assert data.classes == CLASSES and data.source == "cifar10"
    counts = [split.labels.bincount().tolist() for split in data.splits().values()]
    assert counts == [[8] * 10, [2] * 10, [3] * 10]
    assert data.test.inputs.shape == (30, 3, 32, 32) and data.test.inputs.dtype == torch.uint8
    assert data.test.inputs[0].unique(dim=1).unique().tolist() == [6, 100, 200]
    assert data.test.inputs[0, :, 5, 7].tolist() == [6, 100, 200]  # red, green, blue
    images = torch.cat([data.train.inputs, data.val.inputs])
    reds = [i for i in images[:, 0, 0, 0].tolist() if i <= 5]
    plain = images[(images.flatten(2).amax(dim=2) == images.flatten(2).amin(dim=2)).all(dim=1)]
    assert sorted(plain[:, 0, 0, 0].tolist()) == [1, 2, 3, 4, 5] and len(reds) >= 5


def test_the_command_fetches_cifar100(
    publish: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"kind {i}" for i in range(100)]
    files = {
        "meta": pickled({"fine_label_names": names, "coarse_label_names": names[:20]}),
        "test": batch(100, "fine_labels", 2, 100),
        "file.txt~": b"",
        "train": batch(400, "fine_labels", 1, 100),
    }
    publish("cifar100", tarred("cifar-100-python", files))
    assert main(["fetch", "cifar100"]) == 0
    assert "cifar100 is in" in capsys.readouterr().out
    cifar.VAL = 100  # the fixture puts it back
    data = load_cifar100()
    assert data.classes == names
    assert [len(split) for split in data.splits().values()] == [300, 100, 100]


@pytest.mark.parametrize("behavior", ["wrong", "half", "login", "missing", "silence"])
def test_a_bad_server_is_named_and_leaves_nothing(
    publish: Callable[..., None], own_cache: Path, behavior: str
) -> None:
    publish("cifar10", tarred("cifar-10-batches-py", cifar10_files()), behavior)
    with pytest.raises(DownloadError, match=f"/{behavior}/cifar-10-python.tar.gz: "):
        load_cifar10(download=True)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


class Hostile:
    """Unpickled, it writes a file: the canary."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.path)!r}, 'w').write({CANARY!r})",)


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[bytes, Path]:
    """An archive with a hostile batch, and the file that it would write."""
    canary = tmp_path / "canary"
    content = pickle.dumps({"data": Hostile(canary), "labels": []}, 2)
    assert pickle.loads(content) and canary.read_text() == CANARY  # it would
    canary.unlink()
    return tarred("cifar-10-batches-py", cifar10_files() | {"data_batch_2": content}), canary


def test_an_archive_with_another_checksum_is_never_opened(
    publish: Callable[..., None], hostile: tuple[bytes, Path], own_cache: Path
) -> None:
    archive, canary = hostile
    publish("cifar10", archive, known="0" * 64)
    with pytest.raises(DownloadError, match="wrong checksum"):
        load_cifar10(download=True)
    own_cache.mkdir(exist_ok=True)
    (own_cache / "cifar-10-python.tar.gz").write_bytes(archive)  # somebody put it there
    with pytest.raises(DownloadError, match="not here"):
        load_cifar10()
    assert not canary.exists()


def test_even_with_the_right_checksum_no_code_of_an_archive_runs(
    publish: Callable[..., None], hostile: tuple[bytes, Path]
) -> None:
    archive, canary = hostile
    publish("cifar10", archive)
    with pytest.raises(pickle.UnpicklingError, match=r"asks for (__builtin__|builtins)\.exec"):
        load_cifar10(download=True)
    assert not canary.exists()
