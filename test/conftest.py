"""Fixtures shared by all tests."""

import shutil

import pytest
from random_network import lively_model, random_model
from skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401 (hooks of pytest)
from tensorrt_stand_in import compile_driver, stand_in

from dytrack_ros.model import save_weights


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory):
    """Nothing is read from or written to the user's cache, by the tests or by the programs they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Path of random weights of the paper's structure (three exits, 321 tokens), narrow enough to run at once."""
    return save_weights(tmp_path_factory.mktemp("weights") / "random_tiny.safetensors", random_model())


@pytest.fixture(scope="session")
def lively_weights(tmp_path_factory):
    """The same with answers that depend strongly on both crops."""
    return save_weights(tmp_path_factory.mktemp("weights") / "lively_tiny.safetensors", lively_model())


@pytest.fixture(scope="session")
def cuda_stand_in(tmp_path_factory):
    """Path of a driver library for machines without a GPU."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc) for the stand-in of the CUDA driver")
    return compile_driver(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def shared_tensorrt(cuda_stand_in):
    """Stand-ins of TensorRT and its GPU for a whole module."""
    with stand_in(cuda_stand_in) as module:
        yield module


@pytest.fixture
def tensorrt(cuda_stand_in):
    """Stand-ins of TensorRT 10.3 and its GPU; see tensorrt_stand_in.py for what can be set."""
    with stand_in(cuda_stand_in) as module:
        yield module
