"""What a broken camera, a broken driver or a careless publisher may send: hypothesis strategies, no ROS needed.

Every strategy gives plain fields by name; who uses them makes messages of them. A stamp is (seconds, nanoseconds) as in
the message, which may contradict itself too, or None for the stamp that the next good message would have.
"""

import array
import os
import struct
import zlib

import cv2
import numpy as np
from hypothesis import strategies as st
from image_messages import BYTES_PER_PIXEL, row_count

from dytrack_ros.nodes.images import READABLE_ENCODINGS

# Messages sent to a live node; its parts in one process get about twice as many. The whole test, for an idle machine:
# DYTRACK_HOSTILE_MESSAGES=10000 tools/ros_env pytest test/ros/test_hostile_parts.py test/system/test_hostile.py
IS_WHOLE = "DYTRACK_HOSTILE_MESSAGES" in os.environ
MESSAGES = int(os.environ.get("DYTRACK_HOSTILE_MESSAGES", 500))

_random = np.random.default_rng(0)
NOISE = _random.integers(0, 256, 1 << 19, dtype=np.uint8).tobytes()
UINT32_MAX = 2**32 - 1

# Nothing that is drawn takes longer to send than a small image does.
_MOST_BYTES = 30_000

_edges = st.sampled_from([0, 1, 2, 3, 7, 16, 255, 4096, 32766, 32767, 40_000, 65_536, 2**31 - 1, 2**31, UINT32_MAX])
_sizes = _edges | st.integers(0, 100) | st.integers(0, UINT32_MAX)
_texts = st.text("aZ9_/; \n\t\x7f\u00e4\u4e16\U0001f916", max_size=20)
_long_texts = st.sampled_from(["x" * 300, "bgr8" * 5000, "\n" * 1000, "\u00e4\U0001f916" * 2000])

stamps = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from([-(2**31), -1, 0, 1, 1000, 2**31 - 1]) | st.integers(-(2**31), 2**31 - 1),
        st.sampled_from([0, 1, 999_999_999, 1_000_000_000, UINT32_MAX]) | st.integers(0, UINT32_MAX),
    ),
)


@st.composite
def contradictory_images(draw):
    """Fields of sensor_msgs/Image that have nothing to do with each other."""
    size = draw(st.sampled_from([0, 1, 3, 900, 10_000]) | st.integers(0, _MOST_BYTES))
    return {
        "encoding": draw(st.sampled_from(READABLE_ENCODINGS) | _texts | _long_texts),
        "height": draw(_sizes),
        "width": draw(_sizes),
        "step": draw(_sizes),
        "is_bigendian": draw(st.sampled_from([0, 1, 255])),
        "data": array.array("B", NOISE[:size]),
    }


@st.composite
def surprising_images(draw):
    """Fields of sensor_msgs/Image that fit together, or nearly so, but of any small or stretched size and encoding."""
    encoding = draw(st.sampled_from(READABLE_ENCODINGS))
    long_side = draw(st.sampled_from([1, 2, 64, 2000, 33_000]) | st.integers(1, 64))
    short_side = draw(st.integers(1, 2)) if long_side > 64 else draw(st.sampled_from([1, 2, 48]) | st.integers(1, 64))
    height, width = draw(st.permutations([long_side, short_side]))
    step = width * BYTES_PER_PIXEL[encoding] + draw(st.sampled_from([0, 0, 0, 0, 0, 13, -1]))
    size = row_count(encoding, height) * step + draw(st.sampled_from([0, 0, 0, 0, 0, 1, -1]))
    return {
        "encoding": encoding,
        "height": height,
        "width": width,
        "step": max(step, 0),
        "is_bigendian": draw(st.sampled_from([0, 1])),
        "data": array.array("B", NOISE[: max(size, 0)]),
    }


images = contradictory_images() | surprising_images()


def png_that_claims(width, height):
    """A whole PNG file with right checksums and next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(5000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def jpeg_that_claims(width, height):
    """A JPEG file whose header has another size than its picture."""
    data = _encoded(".jpg", 24, 32)
    frame_header = data.index(b"\xff\xc0")
    return data[: frame_header + 5] + struct.pack(">HH", height, width) + data[frame_header + 9 :]


def _encoded(suffix, height, width):
    bgr = np.frombuffer(NOISE, np.uint8)[: height * width * 3].reshape(height, width, 3)
    return cv2.imencode(suffix, bgr)[1].tobytes()


_files = [
    _encoded(suffix, *size) for suffix in (".jpg", ".png", ".webp", ".bmp") for size in ((1, 1), (48, 64), (7, 90))
]
_bombs = [
    *(png_that_claims(*size) for size in ((60_000, 60_000), (12_000, 12_000), (0, 0), (UINT32_MAX, 1), (9000, 5))),
    *(jpeg_that_claims(*size) for size in ((65_500, 65_500), (12_000, 12_000), (1, 1), (0, 7))),
]


@st.composite
def compressed_images(draw):
    """Fields of sensor_msgs/CompressedImage: noise, truncated and damaged files, and files that claim to be huge."""
    kind = draw(st.sampled_from(["noise", "whole", "truncated", "damaged", "bomb"]))
    data = draw(st.sampled_from(_bombs if kind == "bomb" else _files))
    if kind == "noise":
        data = draw(st.binary(max_size=200))
    elif kind == "truncated":
        data = data[: draw(st.integers(0, len(data) - 1))]
    elif kind == "damaged":
        start = draw(st.integers(0, len(data) - 1))
        data = data[:start] + draw(st.binary(min_size=1, max_size=20)) + data[start + draw(st.integers(0, 20)) :]
    return {
        "format": draw(st.sampled_from(["jpeg", "png", "bgr8; jpeg compressed bgr8"]) | _texts | _long_texts),
        "data": array.array("B", data),
    }


_numbers = st.floats() | st.sampled_from([0.0, -1.0, 1.0, 1e-300, 1e9, 1e300, -1e300]) | st.floats(-100, 1000)


@st.composite
def inits(draw):
    """A box as (x, y, w, h) and an id, as an init may carry them."""
    return {"box": tuple(draw(_numbers) for _ in range(4)), "target_id": draw(_texts | _long_texts)}


def messages(transport):
    """What may come where `transport` is `raw` or `compressed`: `image` or `init`, its fields and its stamp."""
    pictures = images if transport == "raw" else compressed_images()
    return st.tuples(st.just("image"), pictures, stamps) | st.tuples(st.just("init"), inits(), stamps)
