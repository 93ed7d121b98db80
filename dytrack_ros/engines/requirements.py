"""What an engine requires of the machine: Python packages, a GPU driver."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

# Modules needed, each also the name of its pip package.
EXPORT_PACKAGES = ("torch", "onnx")
QUANTISE_PACKAGES = ("nncf", "openvino", "torch", "onnx")
TENSORRT_ADVICE = (
    "TensorRT 10 or newer: on a Jetson JetPack 6.1 or newer and `sudo apt install python3-libnvinfer`, "
    "elsewhere `pip install tensorrt`"
)
# Device files of NVIDIA's desktop driver, of its Jetson drivers and of WSL.
_GPU_DEVICE_FILES = ("nvidia[0-9]*", "nvhost-gpu", "nvgpu", "nvmap", "dxg")


def not_installed(packages: Iterable[str]) -> list[str]:
    """Return those of ``packages`` that are not installed; none is imported."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def install_advice(packages: list[str]) -> str:
    """Say how to install missing packages."""
    return TENSORRT_ADVICE if "tensorrt" in packages else f"pip install {' '.join(packages)}"


def has_gpu_driver(device_folder: Path = Path("/dev")) -> bool:
    """Tell whether there is a device file that only a GPU driver makes."""
    return any(any(device_folder.glob(pattern)) for pattern in _GPU_DEVICE_FILES)


def cuda_is_present(device_folder: Path = Path("/dev")) -> bool:
    """Tell whether PyTorch can use a CUDA device; PyTorch is imported only where there is a GPU driver."""
    if not has_gpu_driver(device_folder) or not_installed(["torch"]):
        return False
    import torch

    return torch.cuda.is_available()
