"""TensorRT plans: each ONNX graph compiled for one GPU, and the folder where plans are cached.

Not run on a GPU yet: written against the documentation and the names in NVIDIA's Python modules of TensorRT 10.3, 10.13
and 11.4.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from dytrack_ros.engines.cache import cached
from dytrack_ros.engines.onnx_graphs import GRAPHS_VERSION, cached_graphs, graph_file, read_manifest, write_manifest
from dytrack_ros.engines.requirements import TENSORRT_ADVICE
from dytrack_ros.engines.tensorrt.cuda_driver import CudaDevice
from dytrack_ros.utils import file_sha256
from dytrack_ros.version import __version__

OLDEST = 10  # the first major version with strongly typed networks; JetPack 6.0 still has 8.6
PLANS_VERSION = 1  # raise it when the plans of the same graphs change
# A Jetson's GPU shares the CPU's memory: without a limit TensorRT tries tactics that need all of it.
WORKSPACE_BYTES = 2**30

_log = logging.getLogger(__name__)


def import_tensorrt() -> ModuleType:
    """Import TensorRT. Raises ImportError where it is missing, broken or too old."""
    try:
        tensorrt = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise ImportError(f"engine 'tensorrt' cannot be loaded ({error}); it needs {TENSORRT_ADVICE}") from None
    version = re.match(r"\d+", getattr(tensorrt, "__version__", ""))
    if version is None:
        raise ImportError(f"the module 'tensorrt' is not NVIDIA's ({tensorrt!r}); it needs {TENSORRT_ADVICE}")
    if int(version[0]) < OLDEST:
        raise ImportError(
            f"TensorRT {tensorrt.__version__} is too old for engine 'tensorrt'; it needs {TENSORRT_ADVICE}"
        )
    return tensorrt


@functools.cache
def tensorrt_log(tensorrt: ModuleType) -> Any:
    """Return the logger of all TensorRT objects: it forwards to Python's logging and keeps ``last_error``."""
    severity = tensorrt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
    }

    class Log(tensorrt.ILogger):  # type: ignore[misc, name-defined]
        last_error = "no reason given"

        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                self.last_error = message
            _log.log(level, "TensorRT: %s", message)

    return Log()


def create(tensorrt: ModuleType, kind: str) -> Any:
    """Make a ``Builder`` or ``Runtime``. Raises RuntimeError where TensorRT cannot."""
    log = tensorrt_log(tensorrt)
    try:
        return getattr(tensorrt, kind)(log)
    except TypeError as error:  # the usual cause is a driver that is too old
        raise RuntimeError(f"TensorRT {tensorrt.__version__} cannot start: {log.last_error} ({error})") from None


def plan_file(folder: Path, graph: str) -> Path:
    """Return the file of a graph's plan."""
    return folder / f"{graph}.plan"


def plans_name(weights_sha256: str, precision: str, tensorrt_version: str, gpu: CudaDevice) -> str:
    """Return the name of a folder of plans, which run on this GPU model with this version of TensorRT only."""
    major, minor = gpu.compute_capability
    model = re.sub(r"[^A-Za-z0-9]+", "_", gpu.name).strip("_")
    return (
        f"{weights_sha256[:32]}-{__version__}-{GRAPHS_VERSION}-{PLANS_VERSION}-{precision}-"
        f"tensorrt_{tensorrt_version}-sm_{major}{minor}-{model}"
    )


def cached_plans(weights: Path, precision: str, gpu: CudaDevice) -> contextlib.AbstractContextManager[Path]:
    """Give the cached folder of the plans of a weights file for this GPU, built if need be (in minutes).

    The folder is guaranteed to exist only inside the ``with`` statement. Raises ImportError where TensorRT or a package
    that makes graphs is missing, RuntimeError where TensorRT fails.
    """
    tensorrt = import_tensorrt()

    def write(folder: Path) -> None:
        with cached_graphs(weights, precision) as graphs:
            _log.info("building the TensorRT plans of %s for %s, once; this takes minutes", weights, gpu.name)
            build_plans(tensorrt, graphs, folder)

    name = plans_name(file_sha256(weights), precision, tensorrt.__version__, gpu)
    return cached("plans", name, write, read_manifest)


def build_plans(tensorrt: ModuleType, graphs: Path, folder: Path) -> None:
    """Compile a folder of graphs for the current GPU into ``folder``, and write its manifest. Raises RuntimeError."""
    facts = read_manifest(graphs)
    names = [Path(file).stem for file in facts.pop("files")]
    log = tensorrt_log(tensorrt)
    builder = create(tensorrt, "Builder")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    timings = config.create_timing_cache(b"")  # shared by all graphs, whose layers are alike
    config.set_timing_cache(timings, ignore_mismatch=False)
    for name in tqdm(names, desc="building plans", unit="plan", leave=False, disable=None):
        # Strongly typed: each layer computes in the type that its graph says, as `dytrack export` has checked. The
        # alternative, a flag that permits fp16 anywhere, was removed in TensorRT 11.
        network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = tensorrt.OnnxParser(network, log)
        if not parser.parse_from_file(str(graph_file(graphs, name))):
            errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
            raise RuntimeError(f"TensorRT {tensorrt.__version__} cannot read {graph_file(graphs, name)}: {errors}")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RuntimeError(f"TensorRT {tensorrt.__version__} cannot build {name}: {log.last_error}")
        plan_file(folder, name).write_bytes(plan)
    write_manifest(folder, [plan_file(folder, name) for name in names], {**facts, "tensorrt": tensorrt.__version__})
