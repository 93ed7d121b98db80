"""The contract of an engine, and the choice of one."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

ENGINES = ("auto", "torch", "openvino", "onnxruntime", "tensorrt")
ENGINE_PRECISIONS = ("auto", "fp32", "int8")  # auto: the engine's own choice, the fastest that the chip computes in
CPU_ENGINES = ("openvino", "onnxruntime", "torch")  # fastest first: what `auto` tries on a CPU

# Modules that an engine (or `export`) needs, each also the name of its pip package.
_PACKAGES = {
    "torch": ("torch",),
    "openvino": ("openvino", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "tensorrt": ("tensorrt",),
    "export": ("torch", "onnx"),
    "quantise": ("nncf", "openvino", "torch", "onnx"),
}
TENSORRT_ADVICE = (
    "TensorRT 10 or newer: on a Jetson JetPack 6.1 or newer and `sudo apt install python3-libnvinfer`, "
    "elsewhere `pip install tensorrt`"
)
# What the drivers of Jetsons, of NVIDIA's cards and of WSL put into /dev.
_JETSON_NODES = ("nvhost-gpu", "nvgpu", "nvmap")
_GPU_NODES = ("nvidia[0-9]*", *_JETSON_NODES, "dxg")

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs the network on one search region at a time; weights loaded and warmed up.

    ``set_template``, then for every frame ``begin``, ``advance`` once or more, ``locate``. Calls out of order raise
    RuntimeError, crops of a wrong size or type ValueError.
    """

    name: str
    device: str
    chosen_because: str
    failures: tuple[str, ...]  # why earlier engines were given up: see FallbackEngine
    exit_count: int
    template_size: int
    search_size: int
    template_factor: float
    search_factor: float
    background_mask: float  # 0 where an engine has none: see DyTrackConfig

    def set_template(self, template: np.ndarray) -> None:
        """Takes the target's picture: uint8 RGB, ``template_size`` square, HxWx3."""
        ...

    def begin(self, search: np.ndarray) -> None:
        """Takes a frame's search region: uint8 RGB, ``search_size`` square, HxWx3."""
        ...

    def advance(self) -> float:
        """Runs the next stage and returns its exit's predicted IoU in [0, 1]."""
        ...

    def locate(self) -> np.ndarray:
        """Runs the box head of the exit reached: (x1, y1, x2, y2) float32 in [0, 1] of the search region."""
        ...


class Candidate(NamedTuple):
    """An engine that can be loaded: its name (not ``auto``), the device that is asked for, why it is taken, and what it
    is to compute in (``int8`` with ``openvino`` only)."""

    name: str
    device: str
    reason: str
    precision: str = "auto"


def create_engine(
    name: str, weights: str | Path, device: str = "auto", threads: int | None = None, precision: str = "auto"
) -> Engine:
    """The engine called ``name`` with these weights (a shipped name or a path), loaded and warmed up.

    ``auto`` is the best one present: see :func:`choose_engine`; the engine's ``chosen_because`` says why it was taken.
    ``device`` is ``auto``, ``cpu`` or ``cuda[:N]``; ``threads`` the CPU threads (None: the library's default).
    ``precision`` ``auto`` is bf16, fp16 or fp32 as fits the chip, ``fp32`` exact; ``int8`` takes ``openvino`` with the graphs
    that the command ``quantise`` has made of these weights.
    Raises ValueError for an unknown name, device or precision and for int8 elsewhere, ImportError where the engine's
    library is missing, FileNotFoundError where there are no int8 graphs.
    """
    return load_engine(resolve_engine(name, device, precision), weights, threads)


def resolve_engine(name: str, device: str = "auto", precision: str = "auto") -> Candidate:
    """What :func:`create_engine` loads for this name, device and precision. Raises ValueError for unknown ones."""
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    check_device(device)
    if precision not in ENGINE_PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; there are {', '.join(ENGINE_PRECISIONS)}")
    if precision == "int8":
        if name not in ("auto", "openvino") or device.startswith("cuda"):
            raise ValueError(
                f"precision 'int8' is computed by engine 'openvino' on the CPU, not by engine {name!r} on device "
                f"{device!r}: leave both at auto, or take precision 'auto'"
            )
        return Candidate("openvino", "cpu", "precision int8 was asked for", precision)
    chosen, reason = choose_engine(device) if name == "auto" else (name, "asked for")
    return Candidate(chosen, device, reason, precision)


def load_engine(candidate: Candidate, weights: str | Path, threads: int | None = None) -> Engine:
    """The engine itself, warmed up; as :func:`create_engine`."""
    absent = missing_packages(candidate.name)
    if absent:
        raise ImportError(f"engine {candidate.name!r} is not installed; it needs: {install_advice(absent)}")
    options = {} if candidate.precision == "auto" else {"precision": candidate.precision}
    engine = _engine_class(candidate.name)(weights, candidate.device, threads, **options)
    engine.chosen_because = candidate.reason
    _log.info("engine %s: %s", engine_label(engine), engine.chosen_because)
    return engine


def engine_label(engine: Engine) -> str:
    """Its name and device in words, such as ``openvino (cpu)``; and a precision that is not the engine's own choice, since
    it takes other times and gives other answers."""
    precision = getattr(engine, "precision", "auto")
    note = f", {precision}" if precision in ("fp32", "int8") else ""
    return f"{engine.name} ({engine.device}{note})"


def substitutes(candidate: Candidate) -> list[Candidate]:
    """What could compute in this one's place: for TensorRT PyTorch on the GPU, if it can use it, then the
    :data:`CPU_ENGINES` that are installed, the fastest first; for int8 its own engine in its own precision among them."""
    name, device, _, precision = candidate
    asked = "auto" if precision == "int8" else precision
    on_gpu = name == "torch" and (device.startswith("cuda") or (device == "auto" and cuda_is_present()))
    reason = f"in place of {name}" + (f" in {precision}" if precision != "auto" else "")
    others = [Candidate("torch", device, reason, asked)] if name == "tensorrt" and cuda_is_present() else []
    return others + [
        Candidate(other, "cpu", reason, asked)
        for other in CPU_ENGINES
        if (other != name or on_gpu or precision == "int8") and not missing_packages(other)
    ]


def choose_engine(device: str = "auto") -> tuple[str, str]:
    """The engine that ``auto`` stands for on this machine, and the reason in words.

    On a CUDA device that is asked for or present PyTorch, which starts at once; TensorRT on a Jetson, and where PyTorch
    cannot use the device. Otherwise the first of :data:`CPU_ENGINES` that is installed.
    """
    if device == "cpu":
        return _choose_cpu_engine("device cpu was asked for")
    where = "this machine has a CUDA device" if device == "auto" else f"device {device} was asked for"
    if is_jetson() and (version := tensorrt_version()):
        return "tensorrt", f"{where}, a Jetson's, and TensorRT {version} is installed"
    if cuda_is_present():
        return "torch", where
    if has_gpu_driver() and (version := tensorrt_version()):
        return "tensorrt", f"{where}, which TensorRT {version} can use and PyTorch cannot"
    if device != "auto":
        return "torch", where
    return _choose_cpu_engine("neither PyTorch nor TensorRT can use the GPU" if has_gpu_driver() else "no CUDA device")


def _choose_cpu_engine(where: str) -> tuple[str, str]:
    for name in CPU_ENGINES[:-1]:
        if not missing_packages(name):
            return name, f"{where}, {name} is installed"
    return "torch", f"{where}, none of {', '.join(CPU_ENGINES[:-1])} is installed"


def missing_packages(engine: str) -> list[str]:
    """The pip packages that an engine needs and that are not installed."""
    return [package for package in _PACKAGES[engine] if importlib.util.find_spec(package) is None]


def install_advice(packages: list[str]) -> str:
    """How to install what :func:`missing_packages` names."""
    return TENSORRT_ADVICE if packages == ["tensorrt"] else f"pip install {' '.join(packages)}"


def has_gpu_driver(device_folder: Path = Path("/dev")) -> bool:
    """Whether there is a driver's device file that could be a GPU's."""
    return any(any(device_folder.glob(pattern)) for pattern in _GPU_NODES)


def is_jetson(device_folder: Path = Path("/dev")) -> bool:
    """Whether the GPU is a Jetson's."""
    return any((device_folder / name).exists() for name in _JETSON_NODES)


def cuda_is_present(device_folder: Path = Path("/dev")) -> bool:
    """Whether PyTorch can use a CUDA device. PyTorch is imported only where a driver's device file exists."""
    if not has_gpu_driver(device_folder) or missing_packages("torch"):
        return False
    import torch

    return torch.cuda.is_available()


def tensorrt_version() -> str | None:
    """The version of TensorRT, None where it is missing or too old or finds no GPU."""
    if missing_packages("tensorrt"):
        return None
    from dytrack_ros.engines.tensorrt.cuda_driver import CudaError, device_count
    from dytrack_ros.engines.tensorrt.plans import import_tensorrt

    try:
        return import_tensorrt().__version__ if device_count() else None
    except (ImportError, CudaError) as error:
        _log.info("TensorRT is not used: %s", error)
        return None


def check_device(device: str) -> None:
    """Raises ValueError unless ``device`` is one that the engines know."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"device {device!r} must be auto, cpu or cuda[:N]")


def _engine_class(name: str):
    """Imported here, each only when it is asked for: their libraries are large, and some of them optional."""
    if name == "torch":
        from dytrack_ros.engines.torch_engine import TorchEngine

        return TorchEngine
    if name == "openvino":
        from dytrack_ros.engines.openvino_engine import OpenVINOEngine

        return OpenVINOEngine
    if name == "tensorrt":
        from dytrack_ros.engines.tensorrt.engine import TensorRTEngine

        return TensorRTEngine
    from dytrack_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine
