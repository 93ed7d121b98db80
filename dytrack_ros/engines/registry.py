"""The table of engines, and the choice of one. A new engine is one line of ``SPECS``."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dytrack_ros.engines.base import Engine, check_device
from dytrack_ros.engines.requirements import cuda_is_present, has_gpu_driver, install_advice, not_installed
from dytrack_ros.utils import provide_home

_log = logging.getLogger(__name__)


class EngineSpec(NamedTuple):
    """One engine: where its class is, what it needs and where it runs.

    ``packages`` are pip packages, ``devices`` kinds of devices (``cpu``, ``cuda``), ``precisions`` what may be asked
    for besides ``auto``. An ``opt_in`` engine runs only if it is asked for by name.
    """

    name: str
    module: str
    class_name: str
    packages: tuple[str, ...]
    devices: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32",)
    opt_in: bool = False

    def engine_class(self) -> type[Engine]:
        """Import the engine's class. Its library may be large, so nothing imports it earlier."""
        cls: type[Engine] = getattr(importlib.import_module(f"dytrack_ros.engines.{self.module}"), self.class_name)
        return cls


# On each kind of device the fastest first.
SPECS = {
    spec.name: spec
    for spec in (
        EngineSpec("openvino", "openvino_engine", "OpenVINOEngine", ("openvino", "onnx"), ("cpu",), ("fp32", "int8")),
        EngineSpec("onnxruntime", "onnxruntime_engine", "OnnxRuntimeEngine", ("onnxruntime", "onnx"), ("cpu",)),
        EngineSpec("torch", "torch_engine", "TorchEngine", ("torch",), ("cpu", "cuda")),
        EngineSpec("tensorrt", "tensorrt_engine", "TensorRTEngine", ("tensorrt", "torch"), ("cuda",), opt_in=True),
    )
}
ENGINES = ("auto", *SPECS)
ENGINE_PRECISIONS = ("auto", "fp32", "int8")  # auto: the fastest that the engine and the chip compute in


class EngineChoice(NamedTuple):
    """An engine to load: its name (not ``auto``), the device and precision asked for, and the reason, for logs."""

    name: str
    device: str
    reason: str
    precision: str = "auto"


def create_engine(
    name: str, weights: str | Path, device: str = "auto", threads: int | None = None, precision: str = "auto"
) -> Engine:
    """Load the engine called ``name`` and warm it up.

    Args:
        name: one of :data:`ENGINES`. ``auto`` is the fastest one installed that is not opt-in: on a CUDA device
            PyTorch, on a CPU the first of openvino, onnxruntime, torch.
        weights: a shipped name or the path of a weights file.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        threads: CPU threads; None is the library's default.
        precision: ``auto`` is bf16, fp16 or fp32 as suits the chip, ``fp32`` is exact, ``int8`` runs the graphs that
            the command ``quantise`` has made of these weights, in openvino.

    Raises:
        ValueError: unknown name, device or precision, or int8 with another engine or device.
        ImportError: the engine's library is not installed.
        FileNotFoundError: there are no such weights, or no int8 graphs of them.
    """
    return load_engine(resolve_engine(name, device, precision), weights, threads)


def resolve_engine(name: str, device: str = "auto", precision: str = "auto") -> EngineChoice:
    """Return what :func:`create_engine` loads for these arguments. Raises ValueError as it does."""
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    check_device(device)
    if precision not in ENGINE_PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; there are {', '.join(ENGINE_PRECISIONS)}")
    if precision == "int8":
        if name not in ("auto", "openvino") or device.startswith("cuda"):
            raise ValueError(
                f"precision 'int8' runs in engine 'openvino' on the CPU, not in engine {name!r} on device {device!r}: "
                "leave both at auto, or use precision 'auto'"
            )
        return EngineChoice("openvino", "cpu", "precision int8 was asked for", precision)
    chosen, reason = choose_engine(device) if name == "auto" else (name, "asked for")
    return EngineChoice(chosen, device, reason, precision)


def load_engine(choice: EngineChoice, weights: str | Path, threads: int | None = None) -> Engine:
    """Load the engine chosen and warm it up. Raises as :func:`create_engine`."""
    if missing := missing_packages(choice.name):
        raise ImportError(f"engine {choice.name!r} is not installed; it needs: {install_advice(missing)}")
    if home := provide_home():
        _log.warning("this user has no home folder: %s is used instead; set HOME to keep the cache", home)
    make: Callable[..., Engine] = SPECS[choice.name].engine_class()
    engine = make(weights, device=choice.device, threads=threads, precision=choice.precision)
    engine.chosen_because = choice.reason
    _log.info("engine %s: %s", engine.label, engine.chosen_because)
    return engine


def missing_packages(name: str) -> list[str]:
    """Return the pip packages of an engine that are not installed."""
    return not_installed(SPECS[name].packages)


def choose_engine(device: str = "auto") -> tuple[str, str]:
    """Return the engine that ``auto`` means for ``device`` on this machine, and the reason.

    Opt-in engines (tensorrt) are never chosen.
    """
    if device.startswith("cuda"):
        return _automatic("cuda")[0].name, f"device {device} was asked for"
    if device == "auto" and cuda_is_present():
        return _automatic("cuda")[0].name, "this machine has a CUDA device"
    if device == "cpu":
        reason = "device cpu was asked for"
    elif has_gpu_driver():
        reason = "PyTorch cannot use the GPU (TensorRT is opt-in: engine:=tensorrt)"
    else:
        reason = "no CUDA device"
    specs = _automatic("cpu")
    for spec in specs[:-1]:
        if not missing_packages(spec.name):
            return spec.name, f"{reason}, {spec.name} is installed"
    return specs[-1].name, f"{reason}, none of {', '.join(spec.name for spec in specs[:-1])} is installed"


def substitutes(choice: EngineChoice) -> list[EngineChoice]:
    """Return what can take over if the engine chosen fails: PyTorch on the GPU for TensorRT, then the CPU engines.

    The CPU engines are those installed, the fastest first. Those that replace int8 run in their own precision.
    """
    name, device, _, precision = choice
    replacement_precision = "auto" if precision == "int8" else precision
    reason = f"replaces {name}" + (f" in {precision}" if precision != "auto" else "")
    spec = SPECS[name]
    on_gpu = "cuda" in spec.devices and device != "cpu" and (device != "auto" or cuda_is_present())
    others = []
    if spec.opt_in and cuda_is_present():
        others = [EngineChoice(gpu.name, device, reason, replacement_precision) for gpu in _automatic("cuda")]
    for other in _automatic("cpu"):
        is_the_same = other == spec and not on_gpu and precision != "int8"
        if not is_the_same and not missing_packages(other.name):
            others.append(EngineChoice(other.name, "cpu", reason, replacement_precision))
    return others


def _automatic(kind: str) -> list[EngineSpec]:
    """The engines for a kind of device that ``auto`` may choose."""
    return [spec for spec in SPECS.values() if kind in spec.devices and not spec.opt_in]
