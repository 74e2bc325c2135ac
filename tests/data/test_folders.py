"""Your own pictures: what is accepted, and what is said when something is wrong."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnnlab import load_image_folder
from cnnlab.data import images
from cnnlab.data.folders import write_image_folder
from cnnlab.data.splits import Split


def fill(folder: Path, count: int, color: str = "red") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", (20, 16), color).save(folder / f"{i:03}.png")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    fill(tmp_path / "pets/cats", 20)
    fill(tmp_path / "pets/dogs", 10, "blue")
    return tmp_path / "pets"


@pytest.fixture
def ready_made(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("val", 4), ("test", 6)):
        for name in ("cats", "dogs"):
            fill(tmp_path / "ready" / part / name, count)
    return tmp_path / "ready"


def sizes(path: Path) -> list[int]:
    data = load_image_folder(path, 8)
    return [len(split) for split in data.splits().values()]


def test_class_folders_are_divided_in_proportion(pets: Path) -> None:
    data = load_image_folder(pets, image_size=8, val_fraction=0.25)
    counts = [split.labels.bincount().tolist() for split in data.splits().values()]
    assert counts == [[12, 6], [4, 2], [4, 2]]
    assert data.classes == ["cats", "dogs"]
    assert data.source == f"folder: {pets}"
    assert data.skipped == []
    assert data.train.inputs.shape == (18, 3, 8, 8)


def test_pictures_keep_their_label_and_name(pets: Path) -> None:
    data = load_image_folder(str(pets), 8)
    for split in data.splits().values():
        for image, label, name in zip(split.inputs, split.labels, split.names, strict=True):
            assert name.startswith(data.classes[label])
            assert image[:, 0, 0].argmax() == (0 if label == 0 else 2)


def test_no_picture_is_in_two_splits(pets: Path) -> None:
    data = load_image_folder(pets, 8)
    names = [name for split in data.splits().values() for name in split.names]
    assert max(Counter(names).values()) == 1
    assert len(names) == 30


def test_the_seed_decides_the_split(pets: Path) -> None:
    names = [load_image_folder(pets, 8, seed=seed).test.names for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


def test_splits_made_by_hand_are_kept(ready_made: Path) -> None:
    assert sizes(ready_made) == [20, 8, 12]


def test_with_train_and_val_val_is_the_test_set(ready_made: Path) -> None:
    shutil.rmtree(ready_made / "test")
    assert sizes(ready_made) == [16, 4, 8]


def test_with_train_and_test_validation_is_split_off(ready_made: Path) -> None:
    shutil.rmtree(ready_made / "val")
    assert sizes(ready_made) == [16, 4, 12]


def test_train_alone_is_divided(ready_made: Path) -> None:
    shutil.rmtree(ready_made / "val")
    shutil.rmtree(ready_made / "test")
    assert sizes(ready_made) == [12, 4, 4]


@pytest.mark.parametrize("name", ["valid", "Validation"])
def test_other_names_of_validation_are_understood(ready_made: Path, name: str) -> None:
    (ready_made / "val").rename(ready_made / name)
    assert sizes(ready_made) == [20, 8, 12]


def test_an_unknown_split_is_not_taken_for_a_class(ready_made: Path) -> None:
    (ready_made / "test").rename(ready_made / "holdout")
    with pytest.raises(ValueError, match=r"expected train with val .*; found holdout, train, val"):
        load_image_folder(ready_made, 8)


def test_two_validation_sets_are_refused(ready_made: Path) -> None:
    fill(ready_made / "valid/cats", 2)
    with pytest.raises(ValueError, match="found test, train, val, valid"):
        load_image_folder(ready_made, 8)


def test_without_train_there_is_nothing_to_learn_from(ready_made: Path) -> None:
    shutil.rmtree(ready_made / "train")
    with pytest.raises(ValueError, match="found test, val"):
        load_image_folder(ready_made, 8)


def test_trains_can_be_a_class(tmp_path: Path) -> None:
    fill(tmp_path / "train", 10)
    fill(tmp_path / "bus", 10)
    assert load_image_folder(tmp_path, 8).classes == ["bus", "train"]


def test_a_zip_file_will_do(pets: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path, "pets")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/pets/._cats", b"what macOS adds")
    data = load_image_folder(archive, 8)
    assert len(data.train) == len(load_image_folder(pets, 8).train)
    assert data.source == f"folder: {archive}"
    assert data.skipped == []


def test_a_folder_too_large_for_the_memory_gives_the_same_batches(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = {}
    for name, limit in (("kept", 10**9), ("streamed", 1)):
        monkeypatch.setattr(images, "MAX_DECODED_BYTES", limit)
        data = load_image_folder(pets, 8)
        assert isinstance(data.train.inputs, torch.Tensor) == (name == "kept")
        batches[name] = list(data.loaders(4).train)
    for (X, y), (X_again, y_again) in zip(*batches.values(), strict=True):
        assert torch.equal(X, X_again) and torch.equal(y, y_again)
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path, "pets")
    with pytest.raises(ValueError, match=r"pets\.zip holds too many images.*unpack it"):
        load_image_folder(archive, 8)


def test_a_bad_zip_file_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        file.writestr("../evil.png", b"x")
    with pytest.raises(ValueError, match=r"cannot unpack pets\.zip: .*outside the folder"):
        load_image_folder(tmp_path / "pets.zip")
    (tmp_path / "pets.zip").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"cannot unpack pets\.zip: File is not a zip file"):
        load_image_folder(tmp_path / "pets.zip")


def test_what_is_no_picture_is_skipped_and_told(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets / "cats/notes.txt").write_text("buy film")
    (pets / "cats/zero.jpg").write_bytes(b"")
    (pets / "dogs/half.png").write_bytes((pets / "dogs/000.png").read_bytes()[:50])
    (pets / "dogs/.DS_Store").write_bytes(b"hidden")
    (pets / "dogs/Thumbs.db").write_bytes(b"hidden")
    (pets / "list.csv").write_text("beside the classes")
    data = load_image_folder(pets, 8)
    assert [line.split(": ")[0] for line in data.skipped] == [
        "cats/notes.txt",
        "cats/zero.jpg",
        "dogs/half.png",
        "list.csv",
    ]
    out = capsys.readouterr().out
    assert out.startswith("Skipped 4 files: cats/notes.txt: not an image")
    assert out.count("\n") == 1
    assert sum(len(split) for split in data.splits().values()) == 30


def test_nothing_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing at .*gone"):
        load_image_folder(tmp_path / "gone")


def test_an_empty_folder_has_no_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no class folders in"):
        load_image_folder(tmp_path)


def test_pictures_without_class_folders_are_not_enough(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    with pytest.raises(ValueError, match=r"no class folders in .*as cats/ and dogs/"):
        load_image_folder(tmp_path)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    fill(tmp_path / "cats", 5)
    with pytest.raises(ValueError, match="only one class, 'cats'"):
        load_image_folder(tmp_path)


def test_an_empty_class_is_named(pets: Path) -> None:
    (pets / "birds").mkdir()
    with pytest.raises(ValueError, match=r"the class 'birds' has 0 readable images in .*birds"):
        load_image_folder(pets, 8)


def test_class_folders_without_any_file(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "dogs").mkdir()
    with pytest.raises(ValueError, match="no images in"):
        load_image_folder(tmp_path)


def test_only_unreadable_pictures(pets: Path) -> None:
    for path in (pets / "dogs").iterdir():
        path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="the class 'dogs' has 0 readable images"):
        load_image_folder(pets, 8)


def test_too_few_pictures_says_how_many_it_takes(pets: Path) -> None:
    for path in sorted((pets / "dogs").iterdir())[6:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"'dogs' has 6 readable images.* 7 are needed"):
        load_image_folder(pets, 8)
    fill(pets / "dogs", 7)
    data = load_image_folder(pets, 8)
    assert all(len(split.labels.unique()) == 2 for split in data.splits().values())


def test_classes_must_agree_between_splits(ready_made: Path) -> None:
    (ready_made / "test/dogs").rename(ready_made / "test/wolves")
    with pytest.raises(ValueError, match=r"test and train .* different classes: .*dogs.*wolves"):
        load_image_folder(ready_made, 8)


@pytest.mark.parametrize("name", ["val_fraction", "test_fraction"])
@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5])
def test_fractions_lie_between_zero_and_one(pets: Path, name: str, value: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        load_image_folder(pets, 8, **{name: value})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    pictures = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8)
    split = Split(pictures, torch.arange(20) % 2, classes=["oaks", "beeches"])
    data = load_image_folder(write_image_folder(split, tmp_path / "trees"), image_size=16)
    assert data.classes == ["beeches", "oaks"]
    read = torch.cat([part.inputs for part in data.splits().values()])
    assert {p.numpy().tobytes() for p in read} == {p.numpy().tobytes() for p in pictures}
