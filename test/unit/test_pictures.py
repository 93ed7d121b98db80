"""`make pictures`: every picture of the README and of docs/ can be drawn again from committed files."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the figures need matplotlib")

import pictures
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CARD = {
    "model": "one",
    "evaluation": {
        "dev standard": {
            "exit 1": {"success_auc": 0.5},
            "exit 2": {"success_auc": 0.6},
            "adaptive": {"success_auc": 0.58, "exits": {"1": 30, "2": 10}},
        }
    },
}


def timed(model, engine, *exit_ms):
    exits = [{"p50_ms": ms} for ms in exit_ms]
    return {"model": model, "engine": engine, "end_to_end": {pictures.SIZE: {"exits": exits}}}


RESULTS = {
    "machine": {"cpu": "a CPU", "usable_cores": 2},
    "engines": [timed("one", "torch", 30.0, 60.0), timed("one", "openvino", 10.0, 20.0)],
}


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


# ---- success against time


def test_the_adaptive_point_takes_the_mean_of_the_exits_that_were_taken():
    found = pictures.points(CARD, RESULTS["engines"][1])
    assert found == [("1", 10.0, 0.5), ("2", 20.0, 0.6), ("adaptive", 12.5, 0.58)]


def test_every_model_with_a_card_and_times_is_drawn(tmp_path, capsys):
    cards = [CARD, CARD | {"model": "two"}, CARD | {"model": "three"}]
    results = RESULTS | {"engines": [*RESULTS["engines"], timed("two", "torch", 3.0, 4.0)]}
    assert pictures.draw_pareto(cards, results, tmp_path / "pareto.png") == ["one", "two"]
    assert "left out three: engines.json has no times of it; run dytrack benchmark" in capsys.readouterr().err
    both = cv2.imread(str(tmp_path / "pareto.png"))
    pictures.draw_pareto(cards[:1], results, tmp_path / "pareto.png")
    assert (cv2.imread(str(tmp_path / "pareto.png")) != both).any()


# ---- the animation


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "overlay.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5, (640, 480))
    random = np.random.default_rng(0)
    for index in range(20):
        picture = cv2.resize(random.integers(0, 256, (30, 40, 3), np.uint8), (640, 480))
        cv2.rectangle(picture, (20 * index, 100), (20 * index + 80, 200), (0, 255, 0), 2)
        writer.write(picture)
    writer.release()
    return path


def test_the_demos_video_becomes_an_endless_animation_of_its_speed(video, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "IMAGES", tmp_path)
    pictures.demo(video)
    with Image.open(tmp_path / "demo.webp") as animation:
        assert animation.size == (pictures.WIDTH_PX, 360)
        assert animation.n_frames == 10
        assert animation.info["loop"] == 0


def test_quality_yields_to_size(video, tmp_path, monkeypatch):
    pictures.animate(video, tmp_path / "large.webp")
    large = (tmp_path / "large.webp").stat().st_size
    monkeypatch.setattr(pictures, "MAX_BYTES", large - 1)
    pictures.animate(video, tmp_path / "small.webp")
    assert (tmp_path / "small.webp").stat().st_size < large
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100: raise EVERY"):
        pictures.animate(video, tmp_path / "none.webp")
