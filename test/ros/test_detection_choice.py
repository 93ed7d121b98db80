"""Which detection becomes the target, and when its init may be sent."""

import math
from types import SimpleNamespace

import pytest

from dytrack_ros.nodes.bridges.init_from_detections import Detection, Handover, choose, read_detection, scaled
from dytrack_ros.tracking import TrackState

PERSON = SimpleNamespace(class_id="person", score=0.6)
DOG = SimpleNamespace(class_id="dog", score=0.8)
UNSURE_PERSON = SimpleNamespace(class_id="person", score=0.2)
NO_SCORE = SimpleNamespace(class_id="person", score=math.nan)
BOX = (10.0, 20.0, 30.0, 40.0)


@pytest.mark.parametrize(
    ("hypotheses", "wanted", "expected"),
    [
        ([PERSON, DOG], "person", (0.6, "person")),
        ([PERSON, DOG], "", (0.8, "dog")),
        ([UNSURE_PERSON, PERSON], "person", (0.6, "person")),
        ([NO_SCORE, UNSURE_PERSON], "person", (0.2, "person")),
        ([], "", (0.0, "")),
        ([NO_SCORE], "", (0.0, "")),
        ([], "person", None),
        ([DOG], "person", None),
        ([NO_SCORE], "person", None),
    ],
)
def test_the_score_is_that_of_the_wanted_class(hypotheses, wanted, expected):
    found = read_detection(BOX, hypotheses, wanted, "7")
    if expected is None:
        assert found is None
    else:
        assert (found.score, found.class_id, found.box, found.id, found.centre) == (*expected, BOX, "7", (25.0, 40.0))


@pytest.mark.parametrize(
    "box", [(math.nan, 0, 9, 9), (0, 0, math.inf, 9), (0, 0, 1.9, 9), (0, 0, 9, -9), (0, 0, 0, 0), (-1e300, 0, 9, 9)]
)
def test_an_impossible_box_is_refused_with_what_is_allowed(box):
    with pytest.raises(ValueError, match="must be of numbers within 100000 and at least 2 px a side"):
        read_detection(box, [PERSON], "person")


def test_boxes_are_scaled_from_the_detectors_picture_to_the_image():
    assert scaled((320, 64, 64, 32), (640, 640), (1280, 720)) == (640, 72, 128, 36)


@pytest.mark.parametrize(
    ("how", "last", "expected"),
    [
        ("best_score", None, "a"),
        ("largest", None, "b"),
        ("nearest_centre", None, "c"),
        ("nearest_last", (540.0, 340.0), "b"),
        ("nearest_last", None, "a"),
    ],
)
def test_each_choice_takes_another(how, last, expected):
    small_sure = Detection((0.0, 0.0, 10.0, 10.0), 0.9, "dog", "a")
    large = Detection((500.0, 300.0, 100.0, 100.0), 0.5, "dog", "b")
    middle = Detection((310.0, 230.0, 20.0, 20.0), 0.6, "dog", "c")
    assert choose([large, small_sure, middle], how, (320.0, 240.0), last).id == expected


@pytest.mark.parametrize("state", [*TrackState, 77])
def test_only_a_tracker_without_a_target_is_given_one(state):
    handover = Handover()
    assert not handover.is_due(10.0, 0.0)  # no status yet
    handover.heard(state, 10.0)
    assert handover.is_due(10.0, 0.0) == (state in (TrackState.IDLE, TrackState.LOST))


def test_holdoff_and_silence():
    handover = Handover()
    handover.heard(TrackState.IDLE, 10.0)
    handover.sent(10.0)
    handover.heard(TrackState.IDLE, 10.5)
    assert not handover.is_due(10.9, 1.0)
    assert handover.is_due(11.0, 1.0)
    assert not handover.is_due(10.5 + Handover.SILENCE_LIMIT_S + 0.1, 1.0)
