"""Datasets in the layouts in which they are published. One registry, :data:`LAYOUTS`, and one function that reads."""

from dytrack_ros.data.layouts.registry import AUTO, LAYOUTS, Dataset, load_dataset

__all__ = ["AUTO", "LAYOUTS", "Dataset", "load_dataset"]
