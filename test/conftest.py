"""Fixtures shared by all tests."""

import pytest
from random_network import lively_model, random_model
from skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401 (hooks of pytest)

from dytrack_ros.model import save_weights


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory):
    """Keep the tests, and the programs that they start, away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Path of random weights with the paper's structure (three exits, 321 tokens) and a small width."""
    return save_weights(tmp_path_factory.mktemp("weights") / "random_tiny.safetensors", random_model())


@pytest.fixture(scope="session")
def lively_weights(tmp_path_factory):
    """Path of random weights whose answers depend strongly on both crops."""
    return save_weights(tmp_path_factory.mktemp("weights") / "lively_tiny.safetensors", lively_model())
