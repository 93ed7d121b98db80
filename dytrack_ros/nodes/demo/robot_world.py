"""A drawn world for trials of following: a robot with a camera in a room with pillars, and a target that walks in it.

Lengths are in metres, angles in radians, times in seconds. In the world x and y are level; the heading of the robot is
counter-clockwise from x. The camera looks along the heading, level.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dytrack_ros.nodes.demo.scenes import framed, paste, texture
from dytrack_ros.tracking.box import Box

ROOM = 12.0, 8.0  # the walls are at +- half of it
ROOM_HEIGHT, CAMERA_HEIGHT = 3.0, 0.5
PILLARS = ((-2.6, 0.0, 0.45), (2.6, 0.0, 0.45))  # x, y, radius
TARGET_WIDTH, TARGET_HEIGHT = 0.4, 0.8
# The target walks a figure of eight round the pillars.
_PATH_LENGTH, _PATH_WIDTH, _PATH_PERIOD_S = 4.4, 2.2, 48.0
_START_BEHIND = 1.5
# What a base of this size does, and its reaction if commands stop coming.
MAX_SPEED, MAX_TURN, MAX_ACCELERATION, MAX_TURN_ACCELERATION = 1.2, 2.0, 5.0, 10.0
COMMAND_TIMEOUT_S = 0.5
_TEXELS = 48  # of a texture, per metre


class View(NamedTuple):
    """What the camera sees.

    Attributes:
        image: uint8 BGR, HxWx3.
        depth: distance along the optical axis, float32, HxW.
        box: x, y, w, h of the target in pixels; None while less than half of it is in sight.
        place: of the target's centre in the camera's optical frame: right, down, ahead.
    """

    image: np.ndarray
    depth: np.ndarray
    box: Box | None
    place: tuple[float, float, float]


class RobotWorld:
    """The world moves by `step`, and the same steps and commands give the same views.

    Attributes:
        robot: x, y and heading.
        speed, turn: velocity ahead, and counter-clockwise.
    """

    def __init__(self, width: int = 480, height: int = 360, seed: int = 0) -> None:
        """`width` and `height` of the image in pixels."""
        self.width, self.height = width, height
        self.focal_px = 0.8 * width
        random = np.random.default_rng(seed)
        self._floor = texture(random, 512, 512, contrast=35)
        self._wall = texture(random, round(ROOM_HEIGHT * _TEXELS), 512, contrast=35)
        person = texture(random, 120, 60, contrast=70)
        self._target = framed(person, np.array([40, 40, 220]))
        self.time_s = 0.0
        self.hidden = False
        x, y = self.target
        ahead = math.atan2(*np.subtract(self._target_at(0.1), (x, y))[::-1])
        self.robot = np.array([x - _START_BEHIND * math.cos(ahead), y - _START_BEHIND * math.sin(ahead), ahead])
        self.speed = self.turn = 0.0

    @property
    def target(self) -> tuple[float, float]:
        """x and y of the target."""
        return self._target_at(self.time_s)

    @staticmethod
    def _target_at(time_s: float) -> tuple[float, float]:
        phase = 2 * math.pi * time_s / _PATH_PERIOD_S
        return _PATH_LENGTH * math.sin(phase), _PATH_WIDTH * math.sin(2 * phase)

    def step(self, seconds: float, speed: float, turn: float) -> None:
        """Move on, the robot with these commanded velocities as far as it can accelerate."""
        self.speed = _approach(self.speed, np.clip(speed, -MAX_SPEED, MAX_SPEED), MAX_ACCELERATION * seconds)
        self.turn = _approach(self.turn, np.clip(turn, -MAX_TURN, MAX_TURN), MAX_TURN_ACCELERATION * seconds)
        heading = self.robot[2] + self.turn * seconds / 2
        self.robot += np.array([self.speed * math.cos(heading), self.speed * math.sin(heading), self.turn]) * seconds
        self.time_s += seconds

    def view(self) -> View:
        """Draw what the camera sees."""
        depth, image = self._room()
        x, y = np.subtract(self.target, self.robot[:2])
        cos, sin = math.cos(self.robot[2]), math.sin(self.robot[2])
        ahead, right = x * cos + y * sin, x * sin - y * cos
        place = float(right), CAMERA_HEIGHT - TARGET_HEIGHT / 2, float(ahead)
        return View(image, depth, self._draw_target(image, depth, right, ahead), place)

    def _room(self) -> tuple[np.ndarray, np.ndarray]:
        """Return depth and image of floor, ceiling, walls and pillars: one ray for each column, in the level plane."""
        width, height, focal = self.width, self.height, self.focal_px
        cos, sin = math.cos(self.robot[2]), math.sin(self.robot[2])
        right = (np.arange(width) + 0.5 - width / 2) / focal
        down = (np.arange(height) + 0.5 - height / 2)[:, None] / focal
        ray = np.stack([cos + right * sin, sin - right * cos])  # at a distance of 1 along the optical axis
        walls = (np.sign(ray) * np.array(ROOM)[:, None] / 2 - self.robot[:2, None]) / np.where(ray, ray, 1e-9)
        column_depth = walls.min(0)
        wall_x, wall_y = self.robot[:2, None] + ray * column_depth
        along = np.where(walls[1] < walls[0], wall_x, wall_y)  # on the wall, from its middle
        for x, y, radius in PILLARS:
            offset = self.robot[:2] - (x, y)
            a, b = (ray**2).sum(0), offset @ ray
            root = b**2 - a * (offset @ offset - radius**2)
            hit = np.where(root > 0, -(b + np.sqrt(np.maximum(root, 0))) / a, np.inf)
            nearer = (hit > 0) & (hit < column_depth)
            column_depth = np.where(nearer, hit, column_depth)
            place = offset[:, None] + ray * hit.clip(max=1e3)
            along = np.where(nearer, np.arctan2(place[1], place[0]) * radius + 7 * x, along)
        row_depth = np.where(down > 0, CAMERA_HEIGHT, CAMERA_HEIGHT - ROOM_HEIGHT) / down
        is_level = row_depth < column_depth
        depth = np.where(is_level, row_depth, column_depth).astype(np.float32)
        level_x, level_y = (self.robot[axis] + ray[axis] * row_depth for axis in (0, 1))
        high = ROOM_HEIGHT - CAMERA_HEIGHT + down * column_depth  # below the ceiling
        texel_row = (np.where(is_level, level_y, high) * _TEXELS).astype(np.int32)
        texel_column = (np.where(is_level, level_x, along) * _TEXELS).astype(np.int32) % 512
        image = self._wall[np.clip(texel_row, 0, len(self._wall) - 1), texel_column]
        image[is_level] = self._floor[texel_row[is_level] % 512, texel_column[is_level]]
        return depth, image

    def _draw_target(self, image: np.ndarray, depth: np.ndarray, right: float, ahead: float) -> Box | None:
        if ahead < 0.3 or self.hidden:
            return None
        scale = float(self.focal_px / ahead)
        box = (
            self.width / 2 + float(right - TARGET_WIDTH / 2) * scale,
            self.height / 2 + (CAMERA_HEIGHT - TARGET_HEIGHT) * scale,
            TARGET_WIDTH * scale,
            TARGET_HEIGHT * scale,
        )
        drawn = image.copy()
        side = scale * TARGET_WIDTH / self._target.shape[1]
        paste(drawn, self._target, np.array(box[:2]), side)
        left, top = (max(round(value), 0) for value in box[:2])
        part = np.s_[top : max(round(box[1] + box[3]), 0), left : max(round(box[0] + box[2]), 0)]
        in_sight = depth[part] > ahead
        image[part][in_sight] = drawn[part][in_sight]
        depth[part][in_sight] = ahead
        return (box[0], box[1], box[2], box[3]) if in_sight.sum() > 0.5 * box[2] * box[3] else None


def _approach(value: float, wanted: float, most: float) -> float:
    return float(value + np.clip(wanted - value, -most, most))


def clearance(x: float, y: float) -> float:
    """Return the distance of a point of the world from the nearest pillar or wall, negative inside of them."""
    pillars = [math.hypot(x - pillar[0], y - pillar[1]) - pillar[2] for pillar in PILLARS]
    return min(*pillars, ROOM[0] / 2 - abs(x), ROOM[1] / 2 - abs(y))
