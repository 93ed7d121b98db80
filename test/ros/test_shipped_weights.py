"""The weights that come with the package: they load, they track, and their cards and the README agree."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dytrack_ros.model import load_weights, preset
from dytrack_ros.model.weight_files import model_card, resolve_weights, shipped_models
from dytrack_ros.nodes.demo.scenes import SyntheticScene
from dytrack_ros.policies import FixedExit
from dytrack_ros.policies.calibration import calibration_of
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.box import iou

README = Path(__file__).resolve().parents[2] / "README.md"


def test_something_is_shipped():
    assert "dytrack_small" in shipped_models()


@pytest.mark.parametrize("name", shipped_models())
def test_the_weights_are_the_presets(name):
    model = load_weights(name)
    sizes = {key: getattr(model.config, key) for key in ("template_size", "search_size", "background_mask")}
    assert model.config == replace(preset(name), **sizes), "only crop sizes and the background mask may differ"
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values() if value.is_floating_point())


@pytest.mark.parametrize("name", shipped_models())
def test_the_card_says_how_they_were_made_and_how_good_they_are(name):
    card = model_card(resolve_weights(name))
    wanted = {"model", "command", "seed", "steps", "pairs", "date", "device", "data", "data_licence", "evaluation"}
    assert wanted <= set(card)
    standard = card["evaluation"]["dev standard"]
    aucs = [standard[f"exit {k}"]["success_auc"] for k in (1, 2, 3)]
    assert all(0 < auc < 1 for auc in aucs)


@pytest.mark.parametrize("name", shipped_models())
def test_the_calibration_is_that_of_these_weights(name):
    calibration, note = calibration_of(resolve_weights(name))
    assert calibration is not None, note
    assert calibration.family.exit_count == load_weights(name).exit_count and calibration.notes["model"] == name


def test_the_calibrations_can_be_compared():
    calibrations = [calibration_of(resolve_weights(name))[0] for name in shipped_models()]
    assert len({(tuple(each.notes["sequences"]), each.notes["frames"]) for each in calibrations}) == 1
    for each in calibrations:
        assert each.thresholds and each.asked_mix and len(each.mixes) == len(each.family.rows)
        assert max(mix.iou for mix in each.mixes) >= each.asked_mix.iou > 0


@pytest.mark.parametrize("name", shipped_models())
def test_the_readme_has_the_cards_figures(name):
    standard = model_card(resolve_weights(name))["evaluation"]["dev standard"]
    (row,) = [line for line in README.read_text().splitlines() if line.startswith(f"| `{name}` (")]
    figures = [float(figure) for figure in re.findall(r"0\.\d{3}", row)]
    assert figures[:3] == [round(standard[f"exit {k}"]["success_auc"], 3) for k in (1, 2, 3)]


@pytest.mark.parametrize("name", shipped_models())
def test_they_follow_a_moving_target(name):
    scene = SyntheticScene(width=640, height=480, seed=0)
    tracker = DyTracker.from_pretrained(name, policy=FixedExit(3))
    overlaps = []
    for number in range(0, 40, 2):
        image, truth = scene.frame(number)
        if number == 0:
            tracker.initialize(image, truth)
            start = truth
        else:
            overlaps.append(float(iou(tracker.track(image).box, truth)))
    moved = float(iou(start, truth))
    assert np.mean(overlaps[-5:]) > 0.4 > moved, "a box that stays where it was must not pass"
