"""Image messages to BGR and back. A plain object stands for the message: nothing here needs ROS."""

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hostile_messages import jpeg_that_claims, png_that_claims
from image_messages import image_message

from dytrack_ros.nodes.images import (
    READABLE_ENCODINGS,
    UnreadableImage,
    compressed_to_bgr,
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


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "from_bgr"),
    [
        ("bgr8", None),
        ("8UC3", None),
        ("rgb8", cv2.COLOR_BGR2RGB),
        ("bgra8", cv2.COLOR_BGR2BGRA),
        ("8UC4", cv2.COLOR_BGR2BGRA),
        ("rgba8", cv2.COLOR_BGR2RGBA),
    ],
)
def test_colour_comes_back_exactly(encoding, from_bgr, padding):
    bgr = picture()
    rows = bgr if from_bgr is None else cv2.cvtColor(bgr, from_bgr)
    np.testing.assert_array_equal(to_bgr(message(encoding, rows, padding=padding)), bgr)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_fills_all_three_channels(encoding):
    grey = picture()[..., 0]
    result = to_bgr(message(encoding, grey, padding=3))
    np.testing.assert_array_equal(result, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "bgr16", "rgb16", "bayer_rggb16"])
def test_16_bit_keeps_the_upper_byte_in_either_byte_order(encoding, big_endian):
    channels = 3 if ("gr" in encoding and "bayer" not in encoding) or "rgb16" in encoding else 1
    upper = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)
    values = (upper.astype(np.uint16) << 8) | 0x5A
    rows = values.astype(">u2" if big_endian else "<u2")
    wide = to_bgr(message(encoding, rows, big_endian=big_endian, padding=2))
    narrow = to_bgr(message(encoding.replace("16", "8"), upper))
    np.testing.assert_array_equal(wide, narrow)


@pytest.mark.parametrize(("encoding", "luma_first"), [("yuv422", 0), ("uyvy", 0), ("yuv422_yuy2", 1), ("yuyv", 1)])
def test_packed_yuv(encoding, luma_first):
    """Neutral chroma gives grey; the luma sits in every other byte, which one depends on the encoding."""
    luma = np.linspace(16, 235, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH)
    rows = np.full((HEIGHT, WIDTH, 2), 128, np.uint8)
    rows[..., 0 if luma_first else 1] = luma
    grey = np.clip((luma.astype(float) - 16) * 255 / 219, 0, 255)
    result = to_bgr(message(encoding, rows, padding=4)).astype(float)
    assert np.abs(result - grey[..., None]).max() <= 2


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_planar_yuv_has_its_chroma_below(encoding):
    blue = np.full((HEIGHT, WIDTH, 3), (255, 0, 0), np.uint8)
    planes = cv2.cvtColor(blue, cv2.COLOR_BGR2YUV_I420)
    chroma = planes[HEIGHT:].reshape(2, -1)
    interleaved = (chroma if encoding == "nv12" else chroma[::-1]).T.reshape(HEIGHT // 2, WIDTH)
    rows = np.vstack([planes[:HEIGHT], interleaved])
    result = to_bgr(message(encoding, rows, padding=2)).astype(int)
    assert result.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(result - blue).max() <= 3


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
        blank = np.zeros((HEIGHT * 3 // 2, WIDTH * 6), np.uint8)  # enough for the widest of them
        result = to_bgr(message(encoding, blank))
        assert result.shape == (HEIGHT, WIDTH, 3), encoding
        assert result.dtype == np.uint8, encoding


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "32FC1"}, ["'32FC1'", "bgr8", "image_proc"]),
        ({"encoding": ""}, ["''", "bgr8"]),
        ({"step": WIDTH * 3 - 1}, ["step of at least 24", "not 23"]),
        ({"step": 0}, ["step of at least 24", "not 0"]),
        ({"step": 10**9}, [f"{HEIGHT * 10**9} bytes of data", "not 144"]),
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
    with pytest.raises(UnreadableImage) as refusal:
        open_image(message("bgr8", picture(), **changes))
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_compressed_without_loss(suffix):
    bgr = picture(40, 60)
    data = cv2.imencode(suffix, bgr, (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ())[1].tobytes()
    compressed = SimpleNamespace(format="x", data=array.array("B", data))
    np.testing.assert_array_equal(compressed_to_bgr(compressed), bgr)
    opened = open_compressed(compressed)
    assert (opened.height, opened.width) == (40, 60)
    np.testing.assert_array_equal(opened.bgr(), bgr)


def test_compressed_grey_has_three_channels():
    data = cv2.imencode(".png", picture()[..., 0])[1].tobytes()
    assert compressed_to_bgr(SimpleNamespace(format="mono8; png", data=data)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("data", [b"", b"no picture", cv2.imencode(".jpg", picture())[1].tobytes()[:60]])
def test_unreadable_compressed_data_is_refused_with_its_format(data):
    with pytest.raises(UnreadableImage, match="jpeg"):
        compressed_to_bgr(SimpleNamespace(format="jpeg", data=array.array("B", data)))


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
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_small_file_that_claims_to_be_a_huge_picture_is_not_decoded(data, words, monkeypatch):
    def imdecode(*arguments):
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    with pytest.raises(UnreadableImage, match=words):
        compressed_to_bgr(SimpleNamespace(format="png", data=array.array("B", data)))


def test_an_image_that_opencv_cannot_resample_is_refused():
    with pytest.raises(UnreadableImage, match="at most 32766"):
        to_bgr(message("mono8", np.zeros((1, 40_000)), width=40_000, height=1))


def test_what_is_quoted_is_short_and_in_one_line():
    for refused in (
        lambda text: to_bgr(message(text, picture())),
        lambda text: compressed_to_bgr(SimpleNamespace(format=text, data=b"no picture")),
    ):
        with pytest.raises(UnreadableImage) as refusal:
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
    assert np.abs(compressed_to_bgr(compressed).astype(int) - smooth).mean() < 4


def test_a_cut_out_of_a_larger_picture_is_written_whole():
    bgr = picture(20, 30)[3:15, 4:20]
    raw = SimpleNamespace()
    fill_image(raw, bgr)
    assert (raw.height, raw.width, raw.step, len(raw.data)) == (12, 16, 48, 12 * 48)
    np.testing.assert_array_equal(to_bgr(raw), bgr)
