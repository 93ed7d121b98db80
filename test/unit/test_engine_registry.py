"""The table of engines and the choice of one."""

import inspect

import pytest
import torch

from dytrack_ros.engines import Engine, create_engine, registry, requirements
from dytrack_ros.engines.registry import (
    SPECS,
    EngineChoice,
    choose_engine,
    missing_packages,
    resolve_engine,
    substitutes,
)


@pytest.fixture
def installed(monkeypatch):
    """Pretends that only these packages are installed, and that there is no GPU."""

    def pretend(*packages):
        monkeypatch.setattr(
            requirements.importlib.util, "find_spec", lambda name: object() if name in packages else None
        )

    for question in ("has_gpu_driver", "cuda_is_present"):
        monkeypatch.setattr(registry, question, lambda: False)
    return pretend


@pytest.mark.parametrize("name", SPECS)
def test_every_entry_names_a_class_of_the_contract(name):
    spec = SPECS[name]
    if name != "tensorrt" and missing_packages(name):
        pytest.skip(f"{name} is not installed")
    cls = spec.engine_class()
    assert issubclass(cls, Engine) and not inspect.isabstract(cls) and cls.name == name
    assert {"device", "threads", "precision"} <= inspect.signature(cls).parameters.keys()


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        (("torch", "openvino", "onnxruntime", "onnx"), "openvino"),
        (("torch", "onnxruntime", "onnx"), "onnxruntime"),
        (("torch", "openvino", "onnxruntime"), "torch"),
        (("torch", "tensorrt"), "torch"),
    ],
)
def test_auto_is_the_fastest_cpu_engine_installed(installed, packages, expected):
    installed(*packages)
    name, reason = choose_engine()
    assert name == expected
    assert reason.startswith("no CUDA device, ") and "installed" in reason


def test_auto_on_a_gpu_is_torch_and_never_tensorrt(installed, monkeypatch):
    installed("torch", "tensorrt", "openvino", "onnxruntime", "onnx")
    assert choose_engine("cuda:1") == ("torch", "device cuda:1 was asked for")
    monkeypatch.setattr(registry, "has_gpu_driver", lambda: True)
    assert choose_engine() == (
        "openvino",
        "PyTorch cannot use the GPU (TensorRT is opt-in: engine:=tensorrt), openvino is installed",
    )
    monkeypatch.setattr(registry, "cuda_is_present", lambda: True)
    assert choose_engine() == ("torch", "this machine has a CUDA device")
    assert choose_engine("cpu") == ("openvino", "device cpu was asked for, openvino is installed")


def test_torch_is_asked_for_gpus_only_where_there_is_a_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (tmp_path / "null").touch()
    assert not requirements.cuda_is_present(tmp_path)
    for device_file in ("nvidia0", "nvhost-gpu", "dxg"):
        (tmp_path / device_file).touch()
        assert requirements.cuda_is_present(tmp_path)
        (tmp_path / device_file).unlink()


def test_substitutes(installed, monkeypatch):
    installed("torch", "onnxruntime", "onnx")

    def names(name, device):
        return [(other.name, other.device) for other in substitutes(resolve_engine(name, device))]

    assert names("torch", "auto") == names("torch", "cpu") == [("onnxruntime", "cpu")]
    assert names("torch", "cuda:1") == names("tensorrt", "cuda:1") == [("onnxruntime", "cpu"), ("torch", "cpu")]
    monkeypatch.setattr(registry, "cuda_is_present", lambda: True)
    assert names("auto", "auto") == [("onnxruntime", "cpu"), ("torch", "cpu")]
    assert names("tensorrt", "cuda:1") == [("torch", "cuda:1"), ("onnxruntime", "cpu"), ("torch", "cpu")]
    assert names("auto", "cpu") == [("torch", "cpu")]

    installed("torch", "openvino", "onnx")
    monkeypatch.setattr(registry, "cuda_is_present", lambda: False)
    assert substitutes(resolve_engine("openvino", "cpu", "fp32")) == [
        EngineChoice("torch", "cpu", "replaces openvino in fp32", "fp32")
    ]
    assert [(other.name, other.precision) for other in substitutes(resolve_engine("auto", precision="int8"))] == [
        ("openvino", "auto"),
        ("torch", "auto"),
    ]


@pytest.mark.parametrize(
    ("name", "packages", "advice"),
    [
        ("onnxruntime", ("torch",), "pip install onnxruntime onnx"),
        ("tensorrt", (), "JetPack 6.1 or newer .* `pip install tensorrt`"),
    ],
)
def test_an_engine_that_is_not_installed_says_what_to_install(installed, tiny_weights, name, packages, advice):
    installed(*packages)
    with pytest.raises(ImportError, match=f"{name}.*{advice}$"):
        create_engine(name, tiny_weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "auto", "device": "abacus"}, "auto, cpu or cuda"),
        ({"name": "caffe"}, "unknown engine 'caffe'; there are auto, "),
        ({"name": "auto", "precision": "int4"}, "unknown precision 'int4'; there are auto, fp32, int8"),
        ({"name": "torch", "precision": "int8"}, "runs in engine 'openvino' on the CPU"),
        ({"name": "auto", "precision": "int8", "device": "cuda:0"}, "runs in engine 'openvino' on the CPU"),
        ({"name": "openvino", "device": "cuda:0"}, "use engine 'torch' or 'tensorrt'"),
    ],
)
def test_impossible_choices_are_errors(tiny_weights, arguments, message):
    with pytest.raises(ValueError, match=message):
        create_engine(weights=tiny_weights, **arguments)
