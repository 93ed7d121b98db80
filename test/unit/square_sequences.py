"""Sequences of a square that moves over a grey background, written as plain folders."""

import cv2
import numpy as np

WIDTH, HEIGHT, SIDE = 160, 120, 32


def write_sequences(root, steps, frames=4, absent=()):
    """Write a folder NAME/{img/*,groundtruth.txt} for each ``NAME: pixels a frame``; returns ``root``.

    ``absent`` has (name, frame number) without a target.
    """
    for name, step in steps.items():
        images = root / name / "img"
        images.mkdir(parents=True)
        lines = []
        for number in range(frames):
            image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
            x = 30 + step * number
            if (name, number) in absent:
                lines.append("nan,nan,nan,nan")
            else:
                image[40 : 40 + SIDE, x : x + SIDE] = (10, 10, 220)
                lines.append(f"{x}.0\t40.0\t{SIDE}.0\t{SIDE}.0")
            cv2.imwrite(str(images / f"{number:05d}.png"), image)
        (root / name / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    return root
