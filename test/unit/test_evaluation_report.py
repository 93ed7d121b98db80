"""The figures of `dytrack evaluate --report`, and the reliability of scores."""

import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from square_sequences import write_sequences

from dytrack_ros.cli import evaluate as cli
from dytrack_ros.data.sequences import Sequence
from dytrack_ros.engines import create_engine
from dytrack_ros.evaluation import execution
from dytrack_ros.evaluation.analysis import pooled_reliability, reliability
from dytrack_ros.evaluation.figures import plots
from dytrack_ros.evaluation.figures.frames import ScoreMapper, chosen_sequences, shown_frames, view_around
from dytrack_ros.evaluation.figures.section import Section, sections

# --- scores -----------------------------------------------------------------------------------------------------------


def test_reliability_of_known_scores():
    scores = np.array([0.15, 0.11, 0.95, 0.85, 0.5])
    ious = np.array([0.33, 0.33, 0.75, np.nan, 0.5])
    found = reliability(scores, ious)
    assert found["frames"] == 4 and len(found["bins"]) == 10
    second, last = found["bins"][1], found["bins"][9]
    assert (second["from"], second["to"], second["frames"]) == (0.1, 0.2, 2)
    assert second["mean_score"] == pytest.approx(0.13) and second["mean_iou"] == pytest.approx(0.33)
    assert last["frames"] == 1 and found["bins"][8]["frames"] == 0, "a frame without a target does not count"
    assert math.isnan(found["bins"][8]["mean_iou"])
    # 2 of 4 frames are off by 0.2 in the mean of their bin, 1 by 0.2, 1 not at all.
    assert found["calibration_error"] == pytest.approx((2 * 0.2 + 0.2 + 0) / 4)
    assert found["mean_score"] == pytest.approx(np.mean([0.15, 0.11, 0.95, 0.5]))


def test_errors_within_a_bin_cancel_and_edges_belong_above():
    assert reliability(np.array([0.75, 0.75]), np.array([0.5, 1.0]))["calibration_error"] == pytest.approx(0)
    edges = reliability(np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.1, 1.0]))
    assert [each["frames"] for each in edges["bins"]] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert math.isnan(reliability(np.array([]), np.array([]))["calibration_error"])


def test_parts_pool_to_the_whole():
    random = np.random.default_rng(1)
    scores, ious = random.random(500), random.random(500)
    ious[::7] = np.nan
    pooled = pooled_reliability([reliability(scores[:90], ious[:90]), reliability(scores[90:], ious[90:])])
    whole = reliability(scores, ious)
    for name in ("frames", "mean_score", "mean_iou", "calibration_error"):
        assert pooled[name] == pytest.approx(whole[name])
    assert [each["frames"] for each in pooled["bins"]] == [each["frames"] for each in whole["bins"]]


# --- sections ---------------------------------------------------------------------------------------------------------


def entry(policy: str, exits: dict, hz=None, variant: str = "standard", **more) -> dict:
    """As much of a run in a report as sections and shares need."""
    found = reliability(np.array([0.5, 0.9]), np.array([0.4, 0.9]))
    return {
        "variant": variant, "init": "full", "stream_hz": hz, "policy": policy, "mean": {"exits": exits},
        "by_attribute": {}, "by_exit": {k: {"reliability": found} for k in exits}, "sequences": [], **more,
    }  # fmt: skip


def test_runs_that_can_be_compared_stand_together():
    runs = [entry("exit 1", {1: 4}), entry("adaptive", {1: 2, 3: 2}), entry("exit 1", {1: 4}, hz=30.0)]
    runs += [entry("exit 3", {3: 4}), entry("exit 3", {3: 4}, variant="skip3")]
    difficulty = {"variant": "skip3", "init": "full", "reliability_by_exit": [{"calibration_error": 0.5}]}
    sequences = {("hard", variant, "full"): [] for variant in ("standard", "skip3")}
    found = sections({"sets": [{"name": "hard", "runs": runs, "difficulty": [difficulty]}]}, sequences)
    assert [section.title for section in found] == ["hard: standard", "hard: standard, 30 Hz", "hard: skip3"]
    assert [section.file_name for section in found] == ["hard_standard", "hard_standard_30_Hz", "hard_skip3"]
    assert found[0].deepest is runs[3] and list(found[0].fixed_exits) == [1, 3] and found[0].mixed == [runs[1]]
    assert found[0].reliability()[0].keys() == {1, 3} and "own" in found[0].reliability()[1]
    assert found[2].reliability()[0] == {1: {"calibration_error": 0.5}}, (
        "those of all exits on all frames, where there are any"
    )

    mixed = {"name": "hard", "runs": [runs[1], entry("random", {1: 9})], "difficulty": []}
    only_adaptive = sections({"sets": [mixed]}, sequences)[0]
    pooled, source = only_adaptive.reliability()
    assert only_adaptive.deepest is runs[1] and source == "only the frames that took the exit"
    assert {k: each["frames"] for k, each in pooled.items()} == {1: 4, 3: 2}


def test_shares_are_by_attribute_or_by_few_enough_sequences_to_read():
    taken = {f"s{number:03d}": {1: number, 2: 100 - number} for number in range(101)}
    by_sequence = [{"name": name, "exits": exits} for name, exits in taken.items()]
    run = entry("adaptive", {1: 5050, 2: 5050}, sequences=by_sequence)
    start = ("hard", "standard", "full")
    figure, what = plots.exit_shares(Section(start, None, [run], {}))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(names) == 40 and names[0] == "s100" and names[-1] == "s000" and "of 101" in what
    by_attribute = {"Blur": {"exits": {1: 1, 2: 3}}, "Dark": {"exits": {2: 1}}}
    figure, what = plots.exit_shares(Section(start, None, [{**run, "by_attribute": by_attribute}], {}))
    assert what == "by attribute"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["Blur", "Dark"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.25, 0.0, 0.75, 1.0]


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box", [(300, 200, 20, 30), (0, 0, 10, 10), (600, 440, 80, 80), (-50, 100, 700, 500), (5, 5, 600, 9)]
)
def test_a_view_shows_its_target_and_stays_inside_the_image(box):
    view = view_around(box, 640, 480)
    assert 0 <= view.left and view.left + view.width <= 640 and 0 <= view.top and view.top + view.height <= 480
    assert view.width / view.height == pytest.approx(4 / 3, abs=0.02) and view.height >= 0.4 * 480 - 1
    x, y = np.clip(box[0] + box[2] / 2, 0, 639), np.clip(box[1] + box[3] / 2, 0, 479)
    assert view.left <= x <= view.left + view.width and view.top <= y <= view.top + view.height


def test_frames_shown_have_a_target_and_sequences_run_from_worst_to_best():
    truth = np.tile([10, 10, 20, 20.0], (30, 1))
    truth[5:15] = np.nan
    known = {name: Sequence(name, (None,) * 30, truth) for name in "abcdefg"}
    known["start_only"] = Sequence("start_only", (None,), truth[:1])
    summaries = [{"name": name, "success_auc": auc} for name, auc in zip("abcdefg", [3, 8, 1, 5, 6, 7, 2], strict=True)]
    summaries.append({"name": "start_only", "success_auc": 9})
    section = Section(("hard", "standard", "full"), None, [entry("exit 3", {3: 9}, sequences=summaries)], known)
    frames = shown_frames(section, summaries[0])
    assert len(frames) == 5 and frames[-1] == 29 and not set(frames) & {0, *range(5, 15)}
    assert chosen_sequences(section, 3) == ["c", "d", "b"], "nothing to show of a sequence that ends as it starts"
    assert chosen_sequences(section, 20) == ["c", "g", "a", "d", "e", "f", "b"]


def test_heat_maps_belong_to_the_engines_answers(lively_weights):
    random = np.random.default_rng(0)
    mapper, engine = ScoreMapper(lively_weights), create_engine("torch", lively_weights, "cpu")
    template = random.integers(0, 256, (engine.template_size,) * 2 + (3,), np.uint8)
    search = random.integers(0, 256, (engine.search_size,) * 2 + (3,), np.uint8)
    engine.set_template(template)
    engine.begin(search)
    answers = mapper.answers(template, search)
    assert len(answers) == engine.exit_count
    for answer in answers:
        assert engine.advance() == pytest.approx(answer.score, abs=1e-4)
        assert engine.locate() == pytest.approx(answer.box, abs=1e-4)
        assert answer.heat.sum(axis=(1, 2)) == pytest.approx([1, 1], abs=1e-4)


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sequences of five frames; the target of one is absent at its end."""
    root = tmp_path_factory.mktemp("sequences")
    return write_sequences(root, {"still": 0, "fast <&>": 9}, 5, {("still", 4)})


def images_of(page: Path) -> list[str]:
    return re.findall(r'<img src="([^"]+)"', page.read_text())


def test_the_report_shows_what_there_is_and_is_redrawn_from_cached_results(
    folder, tiny_weights, tmp_path, monkeypatch, capsys
):
    command = ["--sequences", f"squares={folder}", "--model", str(tiny_weights), "--engine", "torch", "--threads", "1"]
    command += ["--exits", "1,3,random", "--levels", "--results", str(tmp_path / "cache")]
    command += ["--out", str(tmp_path / "out.json")]
    assert cli.main([*command, "--report", str(tmp_path / "first")]) == 0
    page = tmp_path / "first" / "report.html"
    assert f"wrote {page}" in capsys.readouterr().out
    names = ["pareto", "curves", "exits", "difficulty", "reliability", "sequences", "score_maps"]
    assert images_of(page) == [f"squares_standard_{name}.png" for name in names]
    for name in images_of(page):
        image = cv2.imread(str(page.parent / name))
        assert min(image.shape[:2]) > 150 and image.std() > 5, f"{name} shows something"
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(["report.html", *images_of(page)])
    (report,) = json.loads((tmp_path / "out.json").read_text())["sets"]
    mean = report["runs"][0]["mean"]
    assert f"<td>exit 1</td><td>{mean['success_auc']:.3f}</td>" in page.read_text()
    errors = [each["calibration_error"] for each in report["difficulty"][0]["reliability_by_exit"]]
    assert len(errors) == 3 and all(f"<td>{error:.3f}</td>" in page.read_text() for error in errors)
    assert report["runs"][1]["by_exit"]["3"]["reliability"]["frames"] == 7
    assert len(report["runs"][0]["curves"]["precision"]) == 51

    def never(*arguments):
        raise AssertionError("nothing is left to be tracked")

    monkeypatch.setattr(execution, "perform", never)
    assert cli.main([*command, "--report", str(tmp_path / "again")]) == 0
    assert images_of(tmp_path / "again" / "report.html") == images_of(page)
    same = cv2.imread(str(tmp_path / "again" / "squares_standard_curves.png")) == cv2.imread(
        str(page.parent / "squares_standard_curves.png")
    )
    assert same.all()


def test_streams_have_no_score_maps_and_only_what_was_run_is_drawn(folder, tiny_weights, tmp_path):
    command = [
        "--sequences",
        f"squares={folder}",
        "--model",
        str(tiny_weights),
        "--engine",
        "torch",
        "--threads",
        "1",
        "--exits",
        "2",
    ]
    assert cli.main([*command, "--stream", "0.02", "--no-offline", "--report", str(tmp_path)]) == 0
    assert images_of(tmp_path / "report.html") == [
        f"squares_standard_0.02_Hz_{name}.png" for name in ("pareto", "curves", "reliability", "sequences")
    ]


def test_what_a_report_needs_is_said_before_anything_runs(folder, tiny_weights, tmp_path, monkeypatch, capsys):
    command = [
        "--sequences",
        f"squares={folder}",
        "--model",
        str(tiny_weights),
        "--engine",
        "torch",
        "--threads",
        "1",
        "--exits",
        "1",
    ]
    (tmp_path / "file").write_text("")
    assert cli.main([*command, "--report", str(tmp_path / "file" / "report")]) == 2
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.main([*command, "--report", str(tmp_path / "report")]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
