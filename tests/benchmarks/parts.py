"""Three parts for both sides: what to learn from, what to choose by, and what to test on once."""

from __future__ import annotations

from pathlib import Path

from sklearn.model_selection import train_test_split

SHARE = 0.25  # of the pictures to learn from, for choosing the epoch


def with_validation(folder: Path, target: Path, seed: int, *, test: bool = True) -> Path:
    """Split val/ off train/, the same share of each class; the old val/ is test/ or left out."""
    learned, tested = (sorted(folder.glob(f"{part}/*/*.*")) for part in ("train", "val"))
    train, val = train_test_split(
        learned, test_size=SHARE, random_state=seed, stratify=[path.parent.name for path in learned]
    )
    parts = {"train": train, "val": val} | ({"test": tested} if test else {})
    for part, paths in parts.items():
        for path in paths:
            link = target / part / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return target
