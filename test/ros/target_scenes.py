"""Camera infos, depth images with a target in its box, and messages to hear them by: nothing here needs a graph."""

from types import SimpleNamespace

import numpy as np
from image_messages import image_message

WIDTH, HEIGHT, FOCAL = 640, 480, 525.0
HOLES, DEPTH_NOISE = 0.2, 0.02


def camera_info(**changes):
    """The fields of a CameraInfo of a pinhole camera whose optical axis is the centre of the image."""
    middle_x, middle_y = WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5
    fields = {
        "width": WIDTH,
        "height": HEIGHT,
        "k": [FOCAL, 0.0, middle_x, 0.0, FOCAL, middle_y, 0.0, 0.0, 1.0],
        "p": [FOCAL, 0.0, middle_x, 0.0, 0.0, FOCAL, middle_y, 0.0, 0.0, 0.0, 1.0, 0.0],
        "d": [],
        "distortion_model": "plumb_bob",
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**(fields | changes))


def depth_message(depth, encoding="16UC1", padding=0, big_endian=False):
    """An image message of a depth in metres, float HxW."""
    order = ">" if big_endian else "<"
    rows = (depth * 1000).clip(0, 65535).astype(f"{order}u2") if encoding == "16UC1" else depth.astype(f"{order}f4")
    return image_message(encoding, rows, depth.shape[1], depth.shape[0], padding, big_endian)


def random_scene(random, share=0.3):
    """A depth image with noise, holes and flying pixels, the target's box, its true depth, and the background's least.

    The target is a disc, a bar, a slanted bar, a cross or an hourglass that covers `share` of its box. The depth image
    is half as large as the image, in whose pixels the box is.
    """
    rows, columns = HEIGHT // 2, WIDTH // 2
    z = random.uniform(0.6, 8.0)
    far = z * random.uniform(1.25, 4.0)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    slope = random.uniform(-0.3, 0.3, 2)
    depth = far * (1 + np.abs(slope[0] * x + slope[1] * y))
    width, height = random.integers(12, 130, 2)
    left, top = random.integers(2, columns - width - 2), random.integers(2, rows - height - 2)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shapes = (np.hypot(x, y), abs(x), abs(x + 0.6 * y), np.minimum(abs(x), abs(y)), abs(x) / (0.4 + y**2))
    shape = shapes[random.integers(len(shapes))]
    depth[top : top + height, left : left + width][shape <= np.quantile(shape, share)] = z
    depth *= random.normal(1, random.uniform(0, DEPTH_NOISE), depth.shape)
    flying = random.random(depth.shape) < 0.02
    depth[flying] = random.uniform(0.3, 10, flying.sum())
    depth[random.random(depth.shape) < HOLES] = 0
    return depth, tuple(2.0 * value for value in (left, top, width, height)), z, far
