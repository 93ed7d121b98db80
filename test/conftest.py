"""Fixtures shared by all tests."""

import pytest
from random_network import random_model

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
