"""What the engines that run ONNX graphs on the CPU share: finding the weights' graphs and loading them."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from dytrack_ros.engines.base import StagedEngine
from dytrack_ros.engines.cache import cached_graphs, existing_int8_graphs
from dytrack_ros.engines.onnx_graphs import read_manifest
from dytrack_ros.engines.registry import check_device
from dytrack_ros.model.weight_files import load_config, resolve_weights


class GraphEngine(StagedEngine):
    """A :class:`StagedEngine` over the graphs of :mod:`dytrack_ros.engines.onnx_graphs`, without torch.

    ``graphs`` is a folder written by ``export`` (``int8``: by ``quantise``) from these weights; without it the user's cache
    is used, and filled (with torch) if it lacks them, but for int8. Raises ValueError for a device other than the CPU, for
    weights that are none of ours, and for a folder that is damaged or of other weights, FileNotFoundError without int8
    graphs.
    """

    device = "cpu"

    def __init__(
        self,
        weights: str | Path,
        device: str = "auto",
        threads: int | None = None,
        graphs: str | Path | None = None,
        precision: str = "auto",
    ):
        self.precision = precision
        check_device(device)
        if device.startswith("cuda"):
            raise ValueError(
                f"engine {self.name!r} computes on the CPU: for device {device!r} use engine 'torch' or 'tensorrt'"
            )
        path = resolve_weights(weights)
        super().__init__(load_config(path))
        if graphs is None and self.precision == "int8":
            self._load(existing_int8_graphs(path), threads)
        elif graphs is None:
            with cached_graphs(path) as folder:
                self._load(folder, threads)
        else:
            read_manifest(Path(graphs), path)
            self._load(Path(graphs), threads)
        self._warm_up()

    @abstractmethod
    def _load(self, folder: Path, threads: int | None) -> None:
        """Makes every graph in the folder ready to run; the folder may be gone afterwards."""
