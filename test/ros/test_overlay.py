"""What is drawn for those who watch: on the picture, and as markers over it."""

import numpy as np
import pytest

from dytrack_ros.nodes import overlay
from dytrack_ros.nodes.follower import Outcome
from dytrack_ros.nodes.overlay import STATE_COLOURS, Annotation
from dytrack_ros.tracking import TrackResult, TrackState

TRACKING = TrackState.TRACKING
BOX, SEARCHED = (300.0, 200.0, 100.0, 80.0), (200.0, 100.0, 300.0, 300.0)
SIZES = [(240, 320), (480, 640), (1080, 1920)]


def drawn(shade=90, size=(480, 640), **known):
    image = np.full((*size, 3), shade, np.uint8)
    overlay.draw(image, Annotation(**{"state": TRACKING} | known))
    return image


def changed(image, shade=90):
    return (image != shade).any(axis=2)


def colours_of(image, places):
    return {tuple(int(value) for value in image[y, x]) for x, y in places}


def test_the_box_is_drawn_where_it_is_in_the_colour_of_its_state():
    for state, colour in STATE_COLOURS.items():
        image = drawn(state=state, box=BOX, score=0.8, exit_index=2, exit_count=3, truth=(310, 210, 100, 80))
        bgr = colour[::-1]
        assert {tuple(image[200, 320]), tuple(image[280, 320]), tuple(image[240, 300]), tuple(image[240, 400])} == {bgr}
        assert changed(image)[290, 360], "the truth"
        assert not changed(image)[240, 350], "inside the box"


@pytest.mark.parametrize("shade", [0, 90, 158, 255])
def test_box_and_searched_region_stand_out_of_any_background(shade):
    image = drawn(shade, box=BOX, searched=SEARCHED).astype(int)
    side = image[240, 290:312]
    assert np.abs(np.diff(side, axis=0)).sum(axis=1).max() > 100
    dashes = image[100, 250:450]
    assert 0.2 < (np.abs(dashes - shade).sum(axis=1) > 100).mean() <= 1, "dashes or the gaps between them"
    assert len({tuple(pixel) for pixel in dashes.tolist()}) == 2, "dashed: two colours in turn"


def test_what_is_not_known_is_not_drawn():
    only_state = changed(drawn(state=TrackState.IDLE))
    assert only_state[:40, :200].any()
    assert not only_state[60:].any()
    assert not changed(drawn(box=BOX))[285:310].any(), "no label without exits"


@pytest.mark.parametrize("size", SIZES)
def test_as_many_dots_are_filled_as_the_exit_taken(size):
    scale = size[0] / 480
    box = tuple(value * scale for value in BOX)
    one, two, three = (
        drawn(size=size, box=box, score=0.8, exit_index=index, exit_count=3).astype(int) for index in (1, 2, 3)
    )
    green = np.array(STATE_COLOURS[TRACKING][::-1])
    filled = [(np.abs(image - green).sum(axis=2) < 10).sum() for image in (one, two, three)]
    assert filled[1] - filled[0] == pytest.approx(filled[2] - filled[1], rel=0.1)
    assert filled[1] - filled[0] >= 12, "a dot that can be seen"


def test_the_bar_grows_with_the_time_and_changes_its_colour_over_the_budget():
    def bar(spent_ms):
        image = drawn(spent_ms=spent_ms, budget_ms=30.0)
        blue, purple = ((image == colour).all(axis=2).sum() for colour in ((178, 114, 0), (167, 121, 204)))
        return blue, purple

    (short, _), (longer, none), (nothing, over) = bar(10.0), bar(20.0), bar(40.0)
    assert longer == pytest.approx(2 * short, rel=0.15)
    assert none == 0
    assert nothing == 0
    assert over > longer
    assert bar(1000.0)[1] < 1.3 * over, "it ends at its frame"
    without = drawn(spent_ms=20.0)
    assert not (without == (178, 114, 0)).all(axis=2).any(), "nothing to compare with"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("box", [(0, 0, 30, 30), (290, 0, 30, 240), (0, 0, 320, 240), (280, 200, 40, 40)])
def test_the_label_stays_in_the_picture_and_off_the_strip(size, box):
    scale = size[0] / 240
    places = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "_plate", lambda image, *place: places.append(place))
        drawn(
            size=size, box=[value * scale for value in box], score=0.5, exit_index=1, exit_count=3,
            caption="target-1", spent_ms=20.0, budget_ms=30.0,
        )  # fmt: skip
    (_, _, _, strip_height), (left, top, width, height) = places
    assert 0 <= left < left + width <= size[1]
    assert strip_height <= top < top + height <= size[0]


@pytest.mark.parametrize("box", [(-1e7, -1e7, 10, 10), (1e7, 1e7, 10, 10), (0, 0, 0, 0), (-50, -50, 1000, 1000)])
@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (480, 640)])
def test_any_box_and_size_can_be_drawn(box, size):
    for state in TrackState:
        drawn(
            size=size, state=state, box=box, score=0.5, exit_index=3, exit_count=3, caption="x" * 300, truth=box,
            searched=box, spent_ms=1e9, budget_ms=1e-9,
        )  # fmt: skip


def test_an_annotation_says_what_the_tracker_knows():
    result = TrackResult(2, (0.4, 0.7), (0.01, 0.02), 0.035, box=BOX, score=0.7, state=TRACKING, search_region=SEARCHED)
    outcome = Outcome(None, None, TRACKING, "cup", BOX, 0.7, result)
    known = Annotation.of(outcome, 3, 0.03)
    assert (known.state, known.caption, known.box, known.score) == (TRACKING, "cup", BOX, 0.7)
    assert (known.exit_index, known.exit_count, known.searched) == (2, 3, SEARCHED)
    assert (known.spent_ms, known.budget_ms) == (pytest.approx(35), pytest.approx(30))
    of_init = Annotation.of(Outcome(None, None, TRACKING, "cup", BOX, 1.0), 3, 0.0)
    assert (of_init.exit_index, of_init.searched, of_init.spent_ms, of_init.budget_ms) == (0, None, 0, 0)


# ---- markers


@pytest.fixture(scope="module")
def markers():
    pytest.importorskip(
        "visualization_msgs", reason="markers are messages of visualization_msgs, which is not installed"
    )
    from std_msgs.msg import Header
    from visualization_msgs.msg import ImageMarker

    from dytrack_ros.nodes.overlay import marker_message

    header = Header(frame_id="camera")
    header.stamp.sec = 7
    return lambda **known: marker_message(header, Annotation(**{"state": TRACKING} | known)), ImageMarker, header


def test_a_marker_is_the_box_and_the_dashed_region_in_the_colour_of_the_state(markers):
    make, ImageMarker, header = markers
    marker = make(box=BOX, searched=SEARCHED, state=TrackState.UNCERTAIN)
    assert (marker.type, marker.action, marker.header) == (ImageMarker.LINE_LIST, ImageMarker.ADD, header)
    places = [(point.x, point.y) for point in marker.points]
    assert set(places[:8]) == {(300, 200), (400, 200), (400, 280), (300, 280)}
    dashes = places[8:]
    assert len(dashes) > 40
    assert {(200, 100), (500, 100), (500, 400), (200, 400)} <= set(dashes)
    assert all(x in (200, 500) or y in (100, 400) for x, y in dashes), "on the outline"
    starts, ends = np.array(dashes[::2]), np.array(dashes[1::2])
    assert 0.4 < np.abs(ends - starts).sum() / 1200 < 0.7, "half of it is gaps"
    red, green, blue = (value / 255 for value in STATE_COLOURS[TrackState.UNCERTAIN])
    assert len(marker.outline_colors) == len(places) // 2, "one a line"
    for colour in (marker.outline_color, *marker.outline_colors):
        assert (colour.r, colour.g, colour.b, colour.a) == pytest.approx((red, green, blue, 1), abs=1e-6)


def test_without_a_target_the_marker_is_taken_away(markers):
    make, ImageMarker, _ = markers
    marker = make(state=TrackState.IDLE)
    assert marker.action == ImageMarker.REMOVE
    assert not marker.points
