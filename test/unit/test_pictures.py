"""`make pictures`: every picture of the README and of docs/ can be drawn again from committed files."""

import re
from pathlib import Path

import cv2
import pytest

pytest.importorskip("matplotlib", reason="the figures need matplotlib")

import pictures

ROOT = Path(__file__).resolve().parents[2]


def shown_pictures():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text()):
            yield (page.parent / link).resolve()


def test_every_picture_that_is_shown_is_there_and_none_is_left_over():
    shown = set(shown_pictures())
    there = {path for path in (ROOT / "docs" / "images").iterdir() if path.suffix != ".py"}
    assert shown == there
    assert {"demo.webp", "pareto.png", "budget_response.png"} <= {path.name for path in shown}


def test_all_but_the_demo_are_drawn_from_what_is_committed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "IMAGES", tmp_path)
    pictures.main(["pareto", "budget", "thresholds", "node"])
    drawn = {path.name for path in tmp_path.iterdir()}
    committed = {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert {"pareto.png", "budget_response.png", "thresholds.png"} <= drawn <= committed
    for name in drawn:
        assert cv2.imread(str(tmp_path / name)).std() > 10
