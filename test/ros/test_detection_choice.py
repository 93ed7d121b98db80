"""Which detection becomes the target, and when one may be handed over."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytrack_ros.nodes.bridges.init_from_detections import (
    CHOICES,
    NEAREST_LAST,
    Detection,
    Handover,
    choose,
    read_detection,
)
from dytrack_ros.tracking import TrackState

PERSON = SimpleNamespace(class_id="person", score=0.6)
DOG = SimpleNamespace(class_id="dog", score=0.8)
UNSURE_PERSON = SimpleNamespace(class_id="person", score=0.2)
NO_SCORE = SimpleNamespace(class_id="person", score=math.nan)
BOX = (10.0, 20.0, 30.0, 40.0)

SMALL_SURE = Detection((0.0, 0.0, 10.0, 10.0), 0.9, "dog", "a")
LARGE = Detection((500.0, 300.0, 100.0, 100.0), 0.5, "dog", "b")
MIDDLE = Detection((310.0, 230.0, 20.0, 20.0), 0.6, "dog", "c")
CENTRE = (320.0, 240.0)


@pytest.mark.parametrize(
    ("hypotheses", "wanted", "expected"),
    [
        ([PERSON, DOG], "person", (0.6, "person")),
        ([PERSON, DOG], "", (0.8, "dog")),
        ([UNSURE_PERSON, PERSON], "person", (0.6, "person")),
        ([NO_SCORE, UNSURE_PERSON], "person", (0.2, "person")),
        ([], "", (0.0, "")),
        ([NO_SCORE], "", (0.0, "")),
    ],
)
def test_the_score_is_that_of_the_wanted_class(hypotheses, wanted, expected):
    found = read_detection(BOX, hypotheses, wanted, "7")
    assert (found.score, found.class_id) == expected
    assert (found.box, found.id, found.centre) == (BOX, "7", (25.0, 40.0))


@pytest.mark.parametrize("hypotheses", [[], [DOG], [NO_SCORE]])
def test_another_class_is_none(hypotheses):
    assert read_detection(BOX, hypotheses, "person") is None


@pytest.mark.parametrize(
    "box", [(math.nan, 0, 9, 9), (0, 0, math.inf, 9), (0, 0, 1.9, 9), (0, 0, 9, -9), (0, 0, 0, 0), (-1e300, 0, 9, 9)]
)
def test_a_box_that_is_none_is_refused_with_what_is_allowed(box):
    with pytest.raises(ValueError, match="must be of numbers within 100000 and at least 2 px a side"):
        read_detection(box, [PERSON], "person")


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
    assert choose([LARGE, SMALL_SURE, MIDDLE], how, CENTRE, last).id == expected


@given(
    st.lists(
        st.builds(
            Detection,
            st.tuples(*2 * [st.floats(-1e5, 1e5)], *2 * [st.floats(2, 1e5)]),
            st.floats(0, 1),
            st.just("dog"),
        ),
        min_size=1,
    ),
    st.sampled_from(CHOICES),
)
def test_one_of_those_that_are_there_is_taken(candidates, how):
    assert choose(candidates, how, CENTRE, CENTRE) in candidates


def test_nearest_to_where_the_target_was_is_the_least_distance_of_centres():
    near, far = Detection((90.0, 90.0, 20.0, 20.0), 0.1, "x"), Detection((95.0, 95.0, 90.0, 90.0), 0.9, "x")
    assert choose([far, near], NEAREST_LAST, last=(100.0, 100.0)) is near


@pytest.mark.parametrize(
    ("state", "is_due"),
    [
        (TrackState.IDLE, True),
        (TrackState.LOST, True),
        (TrackState.TRACKING, False),
        (TrackState.UNCERTAIN, False),
        (77, False),
    ],
)
def test_only_a_tracker_without_a_target_is_given_one(state, is_due):
    handover = Handover()
    assert not handover.is_due(10.0, 0.0)  # it has not spoken
    handover.heard(state, 10.0)
    assert handover.is_due(10.0, 0.0) == is_due


def test_holdoff_and_silence():
    handover = Handover()
    handover.heard(TrackState.IDLE, 10.0)
    handover.sent(10.0)
    handover.heard(TrackState.IDLE, 10.5)
    assert not handover.is_due(10.9, 1.0)
    assert handover.is_due(11.0, 1.0)
    assert not handover.is_due(10.5 + Handover.SILENCE_LIMIT_S + 0.1, 1.0)
