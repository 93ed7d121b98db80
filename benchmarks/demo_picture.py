"""The README's animation: `demo` is run, and frames of what it has filmed become docs/images/demo.webp."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import cv2
from ament_index_python.packages import get_package_prefix
from PIL import Image

MAX_BYTES = 1_500_000
WIDTH_PX = 480
# Every so many frames of the clip one is shown, for so long: the same speed as in life, and half the bytes.
EVERY, MILLISECONDS = 2, 400
QUALITIES = (80, 70, 60, 50, 40, 30)


def run_demo(folder: Path) -> Path:
    """Runs the demo on its default clip; the video that it wrote. Raises CalledProcessError if it fails."""
    program = Path(get_package_prefix("dytrack_ros"), "lib", "dytrack_ros", "dytrack")
    subprocess.run([program, "demo", "--out", folder], check=True)
    return folder / "overlay.mp4"


def animate(video: Path, path: Path) -> None:
    """Writes frames of a video as an endless WebP animation of at most MAX_BYTES, as good as that allows.

    Raises ValueError if even the lowest quality is too large, or the video holds no frame.
    """
    frames = _frames(video)
    if not frames:
        raise ValueError(f"{video} holds no frame that OpenCV can decode")
    for quality in QUALITIES:
        frames[0].save(
            path, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, quality=quality, method=4
        )
        if path.stat().st_size <= MAX_BYTES:
            return
    raise ValueError(f"{path} has {path.stat().st_size} bytes at quality {quality}; at most {MAX_BYTES}: raise EVERY")


def draw(path: Path, video: Path | None = None) -> None:
    """Draws the animation, from a video or from a run of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        animate(video or run_demo(Path(folder)), path)


def _frames(video: Path) -> list[Image.Image]:
    capture, frames = cv2.VideoCapture(str(video)), []
    while True:
        readable, frame = capture.read()
        if not readable:
            capture.release()
            return [Image.fromarray(cv2.cvtColor(each, cv2.COLOR_BGR2RGB)) for each in frames[::EVERY]]
        height = round(frame.shape[0] * WIDTH_PX / frame.shape[1])
        frames.append(cv2.resize(frame, (WIDTH_PX, height), interpolation=cv2.INTER_AREA))
