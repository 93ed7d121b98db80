"""Image messages as plain objects with the fields of sensor_msgs/Image: nothing here needs ROS."""

import array
from types import SimpleNamespace

import numpy as np

BYTES_PER_PIXEL = {
    **dict.fromkeys(("mono8", "8UC1", "nv12", "nv21", "nv24"), 1),
    **dict.fromkeys(("mono16", "16UC1", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"), 2),
    **dict.fromkeys(("bgr8", "8UC3", "rgb8"), 3),
    **dict.fromkeys(("bgra8", "8UC4", "rgba8", "32FC1"), 4),
    **dict.fromkeys(("bgr16", "16UC3", "rgb16"), 6),
    **dict.fromkeys(("bgra16", "16UC4", "rgba16"), 8),
    **{f"bayer_{pattern}{bits}": bits // 8 for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)},
}


def row_count(encoding, height):
    """Rows of `width * BYTES_PER_PIXEL` bytes: NV12, NV21 and NV24 have chroma below the luma."""
    return {"nv12": height * 3 // 2, "nv21": height * 3 // 2, "nv24": height * 3}.get(encoding, height)


def image_message(encoding, rows, /, width, height, padding=0, big_endian=False, **changes):
    """An image message whose rows (bytes, one array row each) are followed by `padding` bytes of noise."""
    rows = np.ascontiguousarray(rows).view(np.uint8).reshape(rows.shape[0], -1)
    padded = np.hstack([rows, np.full((rows.shape[0], padding), 0xA5, np.uint8)])
    fields = {
        "encoding": encoding,
        "height": height,
        "width": width,
        "step": padded.shape[1],
        "is_bigendian": int(big_endian),
        "data": array.array("B", padded.tobytes()),
    }
    return SimpleNamespace(**(fields | changes))


def noise_message(encoding, /, width, height, padding=0, big_endian=False, seed=0):
    """An image message of random bytes."""
    shape = row_count(encoding, height), width * BYTES_PER_PIXEL[encoding]
    rows = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return image_message(encoding, rows, width, height, padding, big_endian)
