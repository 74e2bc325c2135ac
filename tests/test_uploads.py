"""The upload button: both generations of ipywidgets, and errors that are seen."""

from __future__ import annotations

from cnnlab.uploads import upload_button, uploaded_file


def test_both_generations_of_ipywidgets(tmp_path):
    old = {"mine.zip": {"metadata": {"name": "mine.zip"}, "content": b"PK-old"}}
    new = ({"name": "mine.zip", "content": memoryview(b"PK-new")},)
    assert uploaded_file(old, tmp_path / "7").read_bytes() == b"PK-old"
    assert uploaded_file(new, tmp_path / "8").read_bytes() == b"PK-new"


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    for name in ("../../evil.zip", "..\\..\\evil.zip", "/evil.zip"):
        path = uploaded_file(({"name": name, "content": b"x"},), tmp_path / "uploads")
        assert path == tmp_path / "uploads" / "evil.zip"


def test_the_function_is_called_and_its_errors_are_shown(own_cache, monkeypatch):
    shown, called = [], []
    monkeypatch.setattr("IPython.display.display", shown.append)

    def function(path):
        called.append(path.read_bytes())
        raise ValueError("one class only")

    upload_button(function)
    button, below = shown[0].children
    value = ({"name": "mine.zip", "content": memoryview(b"PK"), "type": "", "size": 2,
              "last_modified": __import__("datetime").datetime(2026, 1, 1)},)  # fmt: skip
    try:
        button.value = value
    except ValueError as error:  # without a kernel the Output widget passes errors on
        assert "one class only" in str(error)
    assert called == [b"PK"]
    assert (own_cache / "uploads" / "mine.zip").exists()
    assert below is not None
