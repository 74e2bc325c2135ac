"""The upload button: both generations of ipywidgets, and errors that are seen."""

from __future__ import annotations

from datetime import datetime

import pytest

from cnnlab.notebook import upload_button, uploaded_file


def test_both_generations_of_ipywidgets(tmp_path):
    old = {"mine.zip": {"metadata": {"name": "mine.zip"}, "content": b"PK-old"}}
    new = ({"name": "mine.zip", "content": memoryview(b"PK-new")},)
    assert uploaded_file(old, tmp_path / "7").read_bytes() == b"PK-old"
    assert uploaded_file(new, tmp_path / "8").read_bytes() == b"PK-new"


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    for name in ("../../evil.zip", "..\\..\\evil.zip", "/evil.zip"):
        path = uploaded_file(({"name": name, "content": b"x"},), tmp_path / "uploads")
        assert path == tmp_path / "uploads" / "evil.zip"


def test_the_function_gets_the_file_and_its_errors_are_not_swallowed(own_cache, monkeypatch):
    shown, called = [], []
    monkeypatch.setattr("IPython.display.display", shown.append)

    def function(path):
        called.append(path.read_bytes())
        raise ValueError("one class only")

    upload_button(function)
    button, _ = shown[0].children
    entry = {"name": "mine.zip", "type": "", "size": 2, "last_modified": datetime(2026, 1, 1)}
    content = {"content": memoryview(b"PK")}
    values = {7: {"mine.zip": {"metadata": entry, **content}}, 8: (entry | content,)}
    with pytest.raises(ValueError, match="one class only"):  # a kernel shows it below the button
        button.set_trait("value", values[7 if isinstance(button.value, dict) else 8])
    assert called == [b"PK"]
    assert (own_cache / "uploads" / "mine.zip").exists()


def test_a_button_for_images_offers_images(own_cache, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    upload_button(print, accept="image/*")
    button, _ = shown[0].children
    assert (button.accept, button.description) == ("image/*", "Upload an image")
