"""How far a predicted IoU can be believed: scores against the true IoUs of the boxes that they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dytrack_ros.evaluation.run import mean

BIN_EDGES = np.linspace(0, 1, 11)


def reliability(scores: np.ndarray, ious: np.ndarray) -> dict:
    """Scores and true IoUs (N,), both in [0, 1], in ten bins of the score; frames whose IoU is NaN are left out.

    ``bins`` has the range, the number of frames, their mean score and mean IoU; a score on an edge belongs to the bin
    above it, 1 to the last. ``calibration_error`` is the expected calibration error (Naeini et al., AAAI 2015) with the
    IoU in place of the accuracy: the mean over frames of the distance between mean score and mean IoU of their bin; NaN
    without frames.
    """
    known = ~(np.isnan(scores) | np.isnan(ious))
    scores, ious = scores[known], ious[known]
    of_bin = np.searchsorted(BIN_EDGES[1:-1], scores, side="right")
    bins = [
        {
            "from": round(float(low), 3),
            "to": round(float(high), 3),
            "frames": int((of_bin == index).sum()),
            "mean_score": mean(scores[of_bin == index]),
            "mean_iou": mean(ious[of_bin == index]),
        }
        for index, (low, high) in enumerate(zip(BIN_EDGES[:-1], BIN_EDGES[1:], strict=True))
    ]
    return {
        "frames": len(scores),
        "mean_score": mean(scores),
        "mean_iou": mean(ious),
        "calibration_error": _calibration_error(bins),
        "bins": bins,
    }


def pooled_reliability(parts: Iterable[dict]) -> dict:
    """What :func:`reliability` says of the frames of all ``parts`` together."""
    parts = list(parts)
    bins = [
        {"from": same[0]["from"], "to": same[0]["to"], **_weighted_means(same)}
        for same in zip(*(part["bins"] for part in parts), strict=True)
    ]
    return {**_weighted_means(parts), "calibration_error": _calibration_error(bins), "bins": bins}


def _calibration_error(bins: list[dict]) -> float:
    frames = sum(each["frames"] for each in bins)
    distances = [each["frames"] * abs(each["mean_score"] - each["mean_iou"]) for each in bins if each["frames"]]
    return sum(distances) / frames if frames else float("nan")


def _weighted_means(parts: Sequence[dict]) -> dict:
    frames = sum(part["frames"] for part in parts)

    def over_frames(name: str) -> float:
        return sum(part["frames"] * part[name] for part in parts if part["frames"]) / frames if frames else float("nan")

    return {"frames": frames, "mean_score": over_frames("mean_score"), "mean_iou": over_frames("mean_iou")}
