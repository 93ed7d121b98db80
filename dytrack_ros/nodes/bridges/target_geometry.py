"""From a box in pixels to a place in space: camera models, the depth of a target, its known size, a velocity filter.

Places are in the camera's optical frame (REP 103): x right, y down, z along the optical axis, metres. Boxes are
x, y, w, h in pixels of the colour image, where pixel j covers [j, j + 1). Needs the fields of messages only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from dytrack_ros.nodes.images import UnreadableImageError, open_values
from dytrack_ros.tracking.box import Box

Place = tuple[float, float, float]

# Coefficients that each distortion model of sensor_msgs/CameraInfo may have.
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
# A pixel whose ray does not project back to it this closely is outside of what the distortion model describes.
_PROJECTION_TOLERANCE_PX = 1.0
_MAX_SIDE_PX = 100_000.0


class CameraInfoError(ValueError):
    """A CameraInfo without a usable calibration; the text says what is wrong and how to mend it."""


@dataclass(frozen=True)
class CameraModel:
    """Pinhole camera with the distortion of sensor_msgs/CameraInfo.

    Attributes:
        matrix: 3x3, focal lengths and principal point in pixels of the full sensor.
        distortion: coefficients in OpenCV's order; empty: none.
        is_fisheye: the model is `equidistant`.
        width, height: size of the image, pixels.
        binning, offset: sensor pixels per image pixel and position of the image on the sensor, x and y.
    """

    matrix: np.ndarray
    distortion: np.ndarray
    is_fisheye: bool
    width: int
    height: int
    binning: tuple[int, int] = (1, 1)
    offset: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, info: Any, rectified: bool = False) -> CameraModel:
        """Read a CameraInfo; for `rectified` images the projection matrix `p` counts and there is no distortion.

        Raises:
            CameraInfoError: no calibration, an unknown model, or numbers that no camera has.
        """
        matrix = np.array(info.p if rectified else info.k, float).reshape(3, -1)[:, :3]
        distortion = np.array([] if rectified else info.d, float)
        if not (np.isfinite(matrix).all() and min(matrix[0, 0], matrix[1, 1]) > 0):
            name = "p" if rectified else "k"
            raise CameraInfoError(f"{name} must have finite focal lengths above 0: calibrate the camera")
        # With coefficients of 0 only the equidistant model differs from a pinhole.
        is_distorted = distortion.any() or (len(distortion) and info.distortion_model == "equidistant")
        model = info.distortion_model if is_distorted else ""
        if model and model not in _COEFFICIENTS:
            raise CameraInfoError(
                f"distortion_model '{model[:40]}' is unknown; publish one of {', '.join(_COEFFICIENTS)}"
            )
        coefficients = distortion if model else distortion[:0]
        if model and (len(coefficients) not in _COEFFICIENTS[model] or not np.isfinite(coefficients).all()):
            counts = " or ".join(map(str, _COEFFICIENTS[model]))
            raise CameraInfoError(f"{model} needs {counts} finite coefficients in d, not {len(coefficients)}")
        binning = max(info.binning_x, 1), max(info.binning_y, 1)
        roi = info.roi
        size = (roi.width or info.width) // binning[0], (roi.height or info.height) // binning[1]
        if not all(0 < side <= _MAX_SIDE_PX for side in size):
            raise CameraInfoError(f"width and height must be those of the image, not {info.width}x{info.height}")
        offset = roi.x_offset, roi.y_offset
        return cls(matrix, coefficients, model == "equidistant", *size, binning, offset)

    def rays(self, points: Sequence[tuple[float, float]]) -> np.ndarray | None:
        """Return where the lines of sight through Nx2 points of the image meet the plane z = 1: Nx2, x and y.

        None if the distortion model does not hold at one of them.
        """
        # In OpenCV's coordinates of the sensor, where whole numbers are pixel centres.
        pixels = (np.array(points, float) * self.binning + self.offset - 0.5)[:, None]
        if self.is_fisheye:
            rays = cv2.fisheye.undistortPoints(pixels, self.matrix, self.distortion)
            back = cv2.fisheye.distortPoints(rays, self.matrix, self.distortion)
        elif len(self.distortion):
            rays = cv2.undistortPointsIter(pixels, self.matrix, self.distortion, np.eye(3), np.eye(3), _ITERATIONS)
            in_space = cv2.convertPointsToHomogeneous(rays)
            back = cv2.projectPoints(in_space, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0]
        else:
            rays = (pixels - self.matrix[:2, 2]) / self.matrix.diagonal()[:2]
            back = pixels
        is_valid = np.isfinite(rays).all() and np.abs(back - pixels).max() <= _PROJECTION_TOLERANCE_PX
        return rays[:, 0] if is_valid else None


# OpenCV's default of 5 iterations leaves pixels at the border of a wide lens.
_ITERATIONS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-9)


class Sight(NamedTuple):
    """Where the lines of sight to a box meet the plane z = 1: its centre, and its width and height inside the image."""

    x: float
    y: float
    width: float
    height: float

    @property
    def bearing(self) -> tuple[float, float]:
        """Yaw (right is positive) and pitch (up is positive) of the centre from the optical axis, radians."""
        return math.atan2(self.x, 1.0), math.atan2(-self.y, math.hypot(self.x, 1.0))


def sight_of(camera: CameraModel, box: Box) -> Sight | None:
    """Return the lines of sight to a box; None if it is no box, outside the image, or outside the camera's model."""
    x, y, width, height = box
    if not all(map(math.isfinite, box)) or not (1.0 <= width <= _MAX_SIDE_PX and 1.0 <= height <= _MAX_SIDE_PX):
        return None
    centre_x, centre_y = x + width / 2, y + height / 2
    if not (0 <= centre_x <= camera.width and 0 <= centre_y <= camera.height):
        return None
    # A distortion model need not hold beyond the image.
    left, right = max(x, 0.0), min(x + width, camera.width)
    top, bottom = max(y, 0.0), min(y + height, camera.height)
    sides = [(left, centre_y), (right, centre_y), (centre_x, top), (centre_x, bottom)]
    rays = camera.rays([(centre_x, centre_y), *sides])
    if rays is None:
        return None
    (x, y), (x_left, _), (x_right, _), (_, y_top), (_, y_bottom) = rays.tolist()
    sight = Sight(x, y, x_right - x_left, y_bottom - y_top)
    return sight if min(sight.width, sight.height) > 0 else None


# A side of the box this close to the image's border may be cut off: it is not measured.
_BORDER_PX = 2.0


def depth_from_size(camera: CameraModel, box: Box, sight: Sight, size_m: Sequence[float]) -> float | None:
    """Return the distance z along the optical axis of a target of known width and height, metres (0: not known).

    Both known: their geometric mean. A side that the image's border cuts is not used. None if none is left.
    """
    x, y, width, height = box
    whole = (
        x > _BORDER_PX and x + width < camera.width - _BORDER_PX,
        y > _BORDER_PX and y + height < camera.height - _BORDER_PX,
    )
    seen = (sight.width, sight.height)
    found = [size / part for size, part, is_whole in zip(size_m, seen, whole, strict=True) if size > 0 and is_whole]
    return math.prod(found) ** (1 / len(found)) if found else None


# Part of the box that is read: the border is mostly background.
_CENTRAL_PART = 0.7
_MOST_SAMPLES = 2500
# Fewest samples, and least share of the samples with a depth, that make a cluster.
_LEAST_SAMPLES, _LEAST_SHARE = 8, 0.1
# Least share of the samples that have a depth at all.
_LEAST_VALID = 0.05
# A cluster's depths are within this factor of its median, on both sides; bins are half as wide.
_CLUSTER = math.log(1.06)
_DEPTH_SCALES = {"16uc1": 1e-3, "mono16": 1e-3, "32fc1": 1.0}


class TargetDepth(NamedTuple):
    """Distance z along the optical axis of what a box holds, and its visible extent along z, metres."""

    median: float
    extent: float


def target_depth(message: Any, box: Box, camera: CameraModel, limits: tuple[float, float]) -> TargetDepth | None:
    """Return the depth of the target in a box: that of the nearest dense cluster of depths in its central part.

    Args:
        message: sensor_msgs/Image registered to the colour camera, of any resolution: 16UC1 in millimetres or 32FC1 in
            metres; 0, NaN and infinity are holes.
        limits: least and greatest depth that counts, metres.

    Returns:
        None if too few of the depths are known or no cluster is dense enough.

    Raises:
        UnreadableImageError: another encoding, or an image that contradicts itself.
    """
    scale = _DEPTH_SCALES.get(message.encoding.lower())
    if scale is None:
        raise UnreadableImageError(
            f"depth encoding '{message.encoding[:40]}' cannot be read; publish 16UC1 in millimetres or 32FC1 in metres"
        )
    samples = _central_samples(open_values(message)[..., 0], box, camera)
    with np.errstate(over="ignore", invalid="ignore"):
        depths = samples.astype(np.float32) * np.float32(scale)
        depths = depths[(depths >= limits[0]) & (depths <= limits[1])]
    if len(depths) < max(_LEAST_SAMPLES, _LEAST_VALID * samples.size):
        return None
    logs = np.log(depths)
    bins = ((logs - logs.min()) / (_CLUSTER / 2)).astype(np.intp)
    # Samples in windows of four bins, as wide as a cluster; the nearest window with enough of them is the target's.
    counts = np.convolve(np.bincount(bins), np.ones(4, int))
    dense = np.flatnonzero(counts >= max(_LEAST_SAMPLES, _LEAST_SHARE * len(depths)))
    if not len(dense):
        return None
    middle = logs.min() + (dense[0] - 1) * _CLUSTER / 2
    cluster = logs
    for _ in range(4):  # mean shift: the window may have begun before the cluster
        near = logs[np.abs(logs - middle) <= _CLUSTER]
        if not len(near):
            return None
        cluster, middle = near, np.median(near)
    low, high = np.exp(np.percentile(cluster, (5, 95)))
    return TargetDepth(float(np.exp(middle)), float(high - low))


def _central_samples(values: np.ndarray, box: Box, camera: CameraModel) -> np.ndarray:
    """Return at most about _MOST_SAMPLES values, evenly spread over the central part of a box."""
    height, width = values.shape
    x_scale, y_scale = width / camera.width, height / camera.height
    rows = _central_range(box[1] * y_scale, box[3] * y_scale, height)
    columns = _central_range(box[0] * x_scale, box[2] * x_scale, width)
    step = max(1, math.ceil(math.sqrt(len(rows) * len(columns) / _MOST_SAMPLES)))
    return values[rows.start : rows.stop : step, columns.start : columns.stop : step].ravel()


def _central_range(low: float, length: float, limit: int) -> range:
    margin = length * (1 - _CENTRAL_PART) / 2
    start, stop = math.floor(low + margin), math.ceil(low + length - margin)
    return range(min(max(start, 0), limit), min(max(stop, 0), limit))


class VelocityFilter:
    """Kalman filter of a place that moves at constant velocity, with white noise as acceleration.

    The three axes have the same noise, and so one covariance of place and velocity.
    """

    # After a gap this long, or a step back in time, the filter starts again.
    LONGEST_GAP_S = 1.0
    FIRST_SPEED = 2.0  # standard deviation of the first velocity, m/s

    def __init__(self) -> None:
        self._state: np.ndarray = np.zeros((2, 3))
        self._covariance: np.ndarray = np.zeros((2, 2))
        self._time_s: float | None = None

    def reset(self) -> None:
        """Forget the target."""
        self._time_s = None

    def update(self, place: Place, time_s: float, noise_m: float, acceleration: float) -> tuple[Place, Place]:
        """Return the filtered place, m, and velocity, m/s.

        Args:
            noise_m: standard deviation of `place`, m.
            acceleration: standard deviation of the target's acceleration, m/s^2.
        """
        gap = math.inf if self._time_s is None else time_s - self._time_s
        self._time_s = time_s
        if not 0 <= gap <= self.LONGEST_GAP_S:
            self._state = np.array([place, (0.0, 0.0, 0.0)])
            self._covariance = np.diag([noise_m**2, self.FIRST_SPEED**2])
        else:
            step = np.array([[1, gap], [0, 1]])
            push = np.array([gap**2 / 2, gap])
            self._state = step @ self._state
            self._covariance = step @ self._covariance @ step.T + acceleration**2 * np.outer(push, push)
            gain = self._covariance[:, 0] / (self._covariance[0, 0] + noise_m**2)
            self._state += np.outer(gain, place - self._state[0])
            self._covariance -= np.outer(gain, self._covariance[0])
        (x, y, z), (x_speed, y_speed, z_speed) = self._state.tolist()
        return (x, y, z), (x_speed, y_speed, z_speed)
