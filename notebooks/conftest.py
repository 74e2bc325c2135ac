"""Lessons that are tested side by side (``pytest -n 2``) share the cores instead of fighting."""

import os

import executed
import pytest

LONGEST_FIRST = ("05", "09", "03", "08", "02", "01", "04", "06", "00", "07")  # none is left over

workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:  # kernels inherit it
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def pytest_configure(config: pytest.Config) -> None:
    executed.share(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        number = item.path.name[:2]
        known = item.path.suffix == ".ipynb" and number in LONGEST_FIRST
        return LONGEST_FIRST.index(number) if known else len(LONGEST_FIRST)

    items.sort(key=place)
