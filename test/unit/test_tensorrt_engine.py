"""The TensorRT engine without a GPU: it says what is missing. It computes in no test."""

import sys
import types

import pytest
import torch
from engine_answers import finish, python

from dytrack_ros.engines.tensorrt_engine import TensorRTEngine


@pytest.mark.parametrize(
    ("module", "device", "error", "message"),
    [
        (types.SimpleNamespace(__version__="8.6.2"), "auto", ImportError, r"8\.6\.2 is too old.*JetPack 6\.1"),
        (types.SimpleNamespace(), "auto", ImportError, "cannot be loaded"),  # another module of that name
        (None, "auto", ImportError, r"cannot be loaded .*TensorRT 10 or newer"),  # the import fails
        (types.SimpleNamespace(__version__="11.4.0.106"), "cpu", ValueError, "for device 'cpu' use engine 'openvino'"),
        (types.SimpleNamespace(__version__="11.4.0.106"), "auto", ImportError, "finds no GPU"),
    ],
    ids=["too old", "another module", "broken", "on the cpu", "no gpu"],
)
def test_what_is_missing_is_said(monkeypatch, tiny_weights, module, device, error, message):
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(error, match=message):
        TensorRTEngine(tiny_weights, device=device)


def test_importing_the_tracker_imports_no_library():
    code = "import sys, dytrack_ros.tracking; print(sorted({'torch', 'onnx', 'openvino'} & set(sys.modules)))"
    assert finish(python(code)).strip() == "[]"
