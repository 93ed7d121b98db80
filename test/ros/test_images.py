"""Conversion of image messages to BGR and back, with plain objects as messages."""

import array
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hostile_messages import jpeg_that_claims, png_that_claims
from image_messages import image_message

from dytrack_ros.data.value_range import ValueRange
from dytrack_ros.nodes.images import (
    READABLE_ENCODINGS,
    UnreadableImageError,
    fill_compressed,
    fill_image,
    open_compressed,
    open_image,
    to_bgr,
)

HEIGHT, WIDTH = 6, 8


def picture(height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def message(encoding, rows, /, width=WIDTH, height=HEIGHT, **fields):
    return image_message(encoding, rows, width, height, **fields)


EIGHT_BIT = {
    "bgr8": None,
    "8UC3": None,
    "BGR8": None,
    "rgb8": cv2.COLOR_BGR2RGB,
    "bgra8": cv2.COLOR_BGR2BGRA,
    "8UC4": cv2.COLOR_BGR2BGRA,
    "rgba8": cv2.COLOR_BGR2RGBA,
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", EIGHT_BIT)
def test_colour_comes_back_exactly(encoding, padding):
    bgr = picture()
    rows = bgr if EIGHT_BIT[encoding] is None else cv2.cvtColor(bgr, EIGHT_BIT[encoding])
    np.testing.assert_array_equal(to_bgr(message(encoding, rows, padding=padding)), bgr)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_fills_all_three_channels(encoding):
    grey = picture()[..., 0]
    result = to_bgr(message(encoding, grey, padding=3))
    np.testing.assert_array_equal(result, np.repeat(grey[..., None], 3, axis=2))


# ---- values of more than 8 bits

FULL_RANGE = ValueRange(fixed=(0, 65535))
NARROW = {"mono16": "mono8", "16UC1": "mono8", "bgr16": "bgr8", "16UC3": "bgr8", "rgb16": "rgb8", "bgra16": "bgra8"}
NARROW |= {"16UC4": "bgra8", "rgba16": "rgba8", "bayer_rggb16": "bayer_rggb8"}


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", NARROW)
def test_the_full_16_bits_are_like_8_bits_in_either_byte_order(encoding, big_endian):
    channels = {"mono8": 1, "bayer_rggb8": 1, "bgr8": 3, "rgb8": 3}.get(NARROW[encoding], 4)
    narrow = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)
    rows = (narrow * np.uint16(257)).astype(">u2" if big_endian else "<u2")
    wide = open_image(message(encoding, rows, big_endian=big_endian, padding=2), FULL_RANGE).bgr()
    np.testing.assert_array_equal(wide, to_bgr(message(NARROW[encoding], narrow)))


def scene(seed=0):
    """A smooth grey image of 100 x 120 in [0, 1]."""
    return cv2.resize(
        np.random.default_rng(seed).random((5, 6), np.float32), (120, 100), interpolation=cv2.INTER_LINEAR
    )


def thermal(grey, seed=0):
    """A grey image as a thermal camera sends it: kelvin x 100, from 15 to 40 degrees, with a dead and a hot pixel."""
    kelvin = np.uint16(28815 + 2500 * grey)
    kelvin[3, 4], kelvin[50, 60] = 0, 65535
    return kelvin


def view(values, value_range, encoding="mono16"):
    return open_image(message(encoding, values, width=120, height=100), value_range)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "32FC1", "png"])
def test_a_narrow_range_of_values_becomes_a_full_range_of_grey(encoding):
    values = thermal(scene())
    if encoding == "png":
        image = open_compressed(SimpleNamespace(format="png", data=cv2.imencode(".png", values)[1].tobytes()))
    elif encoding == "32FC1":
        values = values.astype(np.float32)
        values[10, 10], values[20, 20] = np.nan, np.inf
        image = view(values, None, encoding)
    else:
        image = view(values, None, encoding)
    result = image.bgr()[..., 0]
    assert len(np.unique(result)) > 200
    good = np.ones_like(result, bool)
    good[[3, 50, 10, 20], [4, 60, 10, 20]] = False
    assert np.corrcoef(result[good], scene()[good])[0, 1] > 0.999


def test_the_range_is_kept_for_a_target_and_adapted_slowly():
    value_range, grey = ValueRange(), scene()
    before = view(thermal(grey), value_range).bgr()
    warmer = thermal(grey * 0.5 + 0.5)  # the next image alone would be stretched to the same grey levels
    after = view(warmer, value_range).bgr()
    assert after.std() == pytest.approx(before.std() / 2, rel=0.1)
    for _ in range(200):
        adapted = view(warmer, value_range).bgr()
    assert np.abs(adapted.astype(int) - before).mean() < 6
    renewed = view(warmer, value_range.renewed()).bgr()
    assert np.abs(renewed.astype(int) - before).mean() < 6, "a new target starts with the range of its image"


def test_an_image_has_one_range_whatever_is_read_of_it():
    image = view(thermal(scene()), ValueRange())
    part = image.part(slice(0, 20), slice(0, 20))
    for _ in range(5):
        view(thermal(scene(1)), image.value_range).bgr()
    np.testing.assert_array_equal(image.bgr()[:20, :20], np.repeat(part, 3, axis=2))


@pytest.mark.parametrize(
    ("low", "high", "fixed", "grey_levels"),
    [(0, 65535, None, None), (1000, 1020, None, 20), (0, 1000, (0, 65535), 4), (0, 65535, (0, 65535), None)],
)
def test_too_few_grey_levels_are_reported(low, high, fixed, grey_levels):
    reports = []
    view(np.uint16(low + (high - low) * scene()), ValueRange(fixed, reports.append)).bgr()
    assert len(reports) == (grey_levels is not None)
    for report in reports:
        (levels,) = re.findall(r"give (\d+) grey levels", report)
        assert int(levels) == pytest.approx(grey_levels, abs=6)


@pytest.mark.parametrize("values", [np.zeros((100, 120)), np.full((100, 120), np.nan)], ids=["one value", "no value"])
def test_an_image_without_a_range_is_read_too(values):
    assert view(values.astype(np.float32), None, "32FC1").bgr().max() == 0


# ---- YUV and Bayer


@pytest.mark.parametrize(("encoding", "luma_first"), [("yuv422", 0), ("uyvy", 0), ("yuv422_yuy2", 1), ("yuyv", 1)])
def test_packed_yuv(encoding, luma_first):
    """Neutral chroma gives grey; the luma sits in every other byte, which one depends on the encoding."""
    luma = np.linspace(16, 235, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH)
    rows = np.full((HEIGHT, WIDTH, 2), 128, np.uint8)
    rows[..., 0 if luma_first else 1] = luma
    grey = np.clip((luma.astype(float) - 16) * 255 / 219, 0, 255)
    result = to_bgr(message(encoding, rows, padding=4)).astype(float)
    assert np.abs(result - grey[..., None]).max() <= 2


def planar(encoding, colour=(255, 0, 0)):
    """The planes of an image of one BGR colour, one array row each."""
    planes = cv2.cvtColor(np.full((HEIGHT, WIDTH, 3), colour, np.uint8), cv2.COLOR_BGR2YUV_I420)
    chroma = planes[HEIGHT:].reshape(2, -1)
    if encoding == "nv24":
        return np.vstack([planes[:HEIGHT], np.tile(chroma[:, :1].T, (1, HEIGHT * WIDTH)).reshape(2 * HEIGHT, WIDTH)])
    interleaved = (chroma if encoding == "nv12" else chroma[::-1]).T.reshape(HEIGHT // 2, WIDTH)
    return np.vstack([planes[:HEIGHT], interleaved])


@pytest.mark.parametrize(
    ("encoding", "changes"),
    [("nv12", {"padding": 2}), ("nv21", {"padding": 2}), ("nv21", {"step": 2 * WIDTH}), ("nv24", {})],
    ids=["nv12", "nv21", "a step that the data contradicts", "nv24"],
)
def test_planar_yuv_has_its_chroma_below(encoding, changes):
    result = to_bgr(message(encoding, planar(encoding), **changes)).astype(int)
    assert result.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(result - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_pattern_names_the_first_two_rows(pattern):
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (HEIGHT // 2, WIDTH // 2))
    result = to_bgr(message(f"bayer_{pattern}8", mosaic))
    np.testing.assert_array_equal(result[2:-2, 2:-2], np.broadcast_to([40, 120, 200], (HEIGHT - 4, WIDTH - 4, 3)))


def test_bgr8_is_not_copied():
    image = message("bgr8", picture(), padding=6)
    assert np.shares_memory(to_bgr(image), np.frombuffer(image.data, np.uint8))


def test_every_readable_encoding_gives_a_picture_of_the_messages_size():
    for encoding in READABLE_ENCODINGS:
        blank = np.zeros((HEIGHT * 3, WIDTH * 8), np.uint8)  # enough for the widest of them
        result = to_bgr(message(encoding, blank))
        assert result.shape == (HEIGHT, WIDTH, 3), encoding
        assert result.dtype == np.uint8, encoding


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "64FC1"}, ["'64FC1'", "bgr8", "image_proc"]),
        ({"encoding": ""}, ["''", "bgr8"]),
        ({"step": WIDTH * 3 - 1}, ["step of at least 24", "not 23"]),
        ({"step": 0}, ["step of at least 24", "not 0"]),
        ({"step": 10**9, "data": array.array("B", bytes(145))}, [f"{HEIGHT * 10**9} bytes of data", "not 145"]),
        ({"data": array.array("B")}, ["144 bytes of data", "not 0"]),
        ({"data": array.array("B", bytes(143))}, ["144 bytes of data", "not 143"]),
        ({"height": 0}, ["8x0", "at least 1"]),
        ({"width": 0}, ["0x6", "at least 1"]),
        ({"height": 2**32 - 1}, ["bytes of data"]),
        ({"width": 2**32 - 1}, ["step of at least"]),
        ({"encoding": "yuv422", "width": 7}, ["its width of 2"]),
        ({"encoding": "bayer_rggb8", "height": 5}, ["multiple of 2"]),
    ],
)
def test_a_message_that_contradicts_itself_is_refused_with_what_would_be_right(changes, words):
    with pytest.raises(UnreadableImageError) as refusal:
        open_image(message("bgr8", picture(), **changes))
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_compressed_without_loss(suffix):
    bgr = picture(40, 60)
    data = cv2.imencode(suffix, bgr, (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ())[1].tobytes()
    compressed = SimpleNamespace(format="x", data=array.array("B", data))
    opened = open_compressed(compressed)
    assert (opened.height, opened.width) == (40, 60)
    np.testing.assert_array_equal(opened.bgr(), bgr)


def test_a_compressed_image_is_decoded_once_and_only_when_its_pixels_are_read(monkeypatch):
    decoded, imdecode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: decoded.append(1) or imdecode(*arguments))
    data = cv2.imencode(".png", picture()[..., 0])[1].tobytes()
    image = open_compressed(SimpleNamespace(format="mono8; png", data=data))
    assert (image.height, image.width, decoded) == (HEIGHT, WIDTH, [])
    assert image.bgr().shape == image.bgr().shape == (HEIGHT, WIDTH, 3)
    image.load()
    assert decoded == [1]


@pytest.mark.parametrize("data", [b"", b"no picture", cv2.imencode(".jpg", picture())[1].tobytes()[:60]])
def test_unreadable_compressed_data_is_refused_with_its_format(data):
    with pytest.raises(UnreadableImageError, match="jpeg"):
        open_compressed(SimpleNamespace(format="jpeg", data=array.array("B", data))).bgr()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_that_claims(60_000, 60_000), "too large"),
        (png_that_claims(12_000, 12_000), "12000x12000 pixels"),
        (jpeg_that_claims(12_000, 12_000), "12000x12000 pixels"),
        (png_that_claims(33_000, 5), "33000x5 pixels"),
    ],
    ids=["png", "smaller png", "jpeg", "long png"],
)
@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_small_file_that_claims_to_be_a_huge_picture_is_not_decoded(data, words, monkeypatch):
    def imdecode(*arguments):
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    with pytest.raises(UnreadableImageError, match=words):
        open_compressed(SimpleNamespace(format="png", data=array.array("B", data))).bgr()


def test_an_image_that_opencv_cannot_resample_is_refused():
    with pytest.raises(UnreadableImageError, match="at most 32766"):
        to_bgr(message("mono8", np.zeros((1, 40_000)), width=40_000, height=1))


def test_what_is_quoted_is_short_and_in_one_line():
    for refused in (
        lambda text: to_bgr(message(text, picture())),
        lambda text: open_compressed(SimpleNamespace(format=text, data=b"no picture")),
    ):
        with pytest.raises(UnreadableImageError) as refusal:
            refused("long\n" * 10_000)
        assert len(str(refusal.value)) < 700
        assert "\n" not in str(refusal.value)


def test_there_and_back():
    bgr = picture(20, 30)
    raw = SimpleNamespace()
    fill_image(raw, bgr)
    assert isinstance(raw.data, array.array)
    np.testing.assert_array_equal(to_bgr(raw), bgr)

    smooth = cv2.resize(picture(4, 4), (64, 48))
    compressed = SimpleNamespace()
    fill_compressed(compressed, smooth)
    assert np.abs(open_compressed(compressed).bgr().astype(int) - smooth).mean() < 4


def test_a_cut_out_of_a_larger_picture_is_written_whole():
    bgr = picture(20, 30)[3:15, 4:20]
    raw = SimpleNamespace()
    fill_image(raw, bgr)
    assert (raw.height, raw.width, raw.step, len(raw.data)) == (12, 16, 48, 12 * 48)
    np.testing.assert_array_equal(to_bgr(raw), bgr)
