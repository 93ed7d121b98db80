"""Crops of image views: equal to those of the whole image, at a cost that does not grow with the image."""

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_messages import noise_message

from dytrack_ros.nodes.images import READABLE_ENCODINGS, open_image, to_bgr
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.image import as_image_view

every_encoding = pytest.mark.parametrize("encoding", READABLE_ENCODINGS)


def in_whole_blocks(encoding, width, height):
    """The size, one more where the encoding does not allow for an odd one."""
    pairs_rows = encoding.startswith(("nv12", "nv21", "bayer"))
    pairs_columns = pairs_rows or encoding.startswith(("yuv", "uyvy", "yuyv"))
    return width + (width % 2 if pairs_columns else 0), height + (height % 2 if pairs_rows else 0)


def crop_of_whole(bgr, window, size):
    """The whole picture made BGR, the window cut from it, the crop made RGB."""
    scale = window.side / size
    to_image = np.array([[scale, 0, window.left + scale / 2 - 0.5], [0, scale, window.top + scale / 2 - 0.5]])
    crop = cv2.warpAffine(bgr, to_image, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)


# Whole and half pixels too: there, one crop pixel's place is on the border between two ways of rounding.
places = st.floats(-150, 250) | st.integers(-300, 500).map(lambda halves: halves / 2)
windows = st.builds(CropWindow, places, places, st.integers(1, 30) | st.integers(1, 1500))


@every_encoding
@settings(max_examples=40, deadline=None)
@given(
    window=windows,
    size=st.sampled_from([16, 128]),
    width=st.integers(1, 100),
    height=st.integers(1, 80),
    padding=st.integers(0, 9),
    big_endian=st.booleans(),
)
def test_a_crop_is_that_of_the_whole_picture_bit_for_bit(encoding, window, size, width, height, padding, big_endian):
    message = noise_message(encoding, *in_whole_blocks(encoding, width, height), padding, big_endian)
    crop = window.cut(open_image(message), size)
    np.testing.assert_array_equal(crop, crop_of_whole(to_bgr(message), window, size))


@every_encoding
@pytest.mark.parametrize(("left", "top"), [(-30, 10), (10, -30), (64, 10), (10, 48), (1e9, -1e9)])
def test_a_window_beside_the_picture_is_black(encoding, left, top):
    crop = CropWindow(left, top, 20).cut(open_image(noise_message(encoding, 64, 48)), 32)
    assert crop.shape == (32, 32, 3) and crop.dtype == np.uint8
    assert not crop[2:-2, 2:-2].any(), "at its very border it may blend with the picture"


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[::-1, ::-1],
        lambda image: image.transpose(1, 0, 2),
        lambda image: image[..., ::-1],
        lambda image: image[10:-10, 20:-20],
        lambda image: image[::2, ::3],
    ],
)
def test_a_bgr_array_may_lie_in_memory_as_it_likes(view):
    image = view(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    for window in (CropWindow(5.3, -7.8, 40), CropWindow(-50, -50, 300)):
        expected = crop_of_whole(np.ascontiguousarray(image), window, 64)
        np.testing.assert_array_equal(window.cut(image, 64), expected)


def peak_bytes(cut_of_frame):
    """The most memory that cutting one and the same window takes at three frame sizes.

    numpy tells tracemalloc of every array, of OpenCV's too: its results, and its silent copies of input that it cannot
    read as it lies.
    """
    window = CropWindow(100.4, 80.6, 300)
    peaks = []
    for size in ((640, 480), (1280, 720), (1920, 1080)):
        cut = cut_of_frame(*size)
        cut(window)  # what Python keeps from a first call is not counted
        tracemalloc.start()
        cut(window)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return peaks


def check_that_only_the_window_counts(peaks, conversion=2 * 3):
    """`conversion`: bytes a pixel of the window that converting it may take."""
    crop_before_and_after, part = 2 * 256**2 * 3, 310**2 * conversion
    assert max(peaks) - min(peaks) < 4096
    assert 256**2 * 3 <= min(peaks) and max(peaks) < crop_before_and_after + part + 16384


@every_encoding
def test_what_a_crop_copies_and_converts_does_not_grow_with_the_frame(encoding):
    def cut_of_frame(width, height):
        message = noise_message(encoding, width, height, padding=10)
        return lambda window: window.cut(open_image(message), 256)

    # Values of more than 8 bits become floats first; NV24 is converted at four times its size.
    wide = 32 if encoding.endswith(("16", "16UC1", "16UC3", "16UC4", "32FC1")) else 6
    check_that_only_the_window_counts(peak_bytes(cut_of_frame), 24 if encoding == "nv24" else wide)


def test_a_bgr_array_is_not_copied_either():
    def cut_of_frame(width, height):
        padded = np.zeros((height, width + 5, 3), np.uint8)[:, :width]
        return lambda window: window.cut(padded, 256)

    check_that_only_the_window_counts(peak_bytes(cut_of_frame))


@pytest.mark.parametrize("encoding", ["bgr8", "8UC3", "rgb8", "bgra8", "8UC4", "rgba8", "mono8", "8UC1"])
def test_bytes_that_are_pixels_are_cut_where_they_lie(encoding):
    message = noise_message(encoding, 64, 48, padding=7)
    part = open_image(message).part(slice(3, 41), slice(5, 60))
    assert np.shares_memory(part, np.frombuffer(message.data, np.uint8))


def test_a_picture_stays_itself_and_knows_its_whole():
    message = noise_message("bgr8", 64, 48)
    picture = open_image(message)
    assert as_image_view(picture) is picture
    image = picture.bgr()
    assert as_image_view(image).bgr() is image
    assert (picture.height, picture.width) == image.shape[:2] == (48, 64)
