"""The field's measures over one sequence: boxes (N, 4) as (x, y, w, h), NaN where the target is absent."""

from __future__ import annotations

import numpy as np

from dytrack_ros.tracking.box import iou

SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)
PRECISION_PX = 20.0
NORMALISED_PRECISION = 0.2


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of every frame in which the target is present."""
    present = ~np.isnan(truth).any(1)
    return iou(predicted[present], truth[present])


def success_auc(ious: np.ndarray) -> float:
    """Area under the success curve: the mean over thresholds 0, 0.05, ... 1 of the share of frames with IoU above
    (Wu et al., OTB, TPAMI 2015)."""
    return float((ious[None, :] > SUCCESS_THRESHOLDS[:, None]).mean()) if len(ious) else float("nan")


def _centre_errors(predicted: np.ndarray, truth: np.ndarray, normalised: bool) -> np.ndarray:
    present = ~np.isnan(truth).any(1)
    predicted, truth = predicted[present], truth[present]
    error = (predicted[:, :2] + predicted[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)
    if normalised:
        error = error / np.maximum(truth[:, 2:], 1e-9)
    return np.hypot(*error.T)


def precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of frames whose centre is within 20 px of the truth's."""
    return float((_centre_errors(predicted, truth, normalised=False) <= PRECISION_PX).mean())


def normalised_precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of frames whose centre error, in units of the truth's size, is within 0.2 (TrackingNet, ECCV 2018)."""
    return float((_centre_errors(predicted, truth, normalised=True) <= NORMALISED_PRECISION).mean())
