"""Live graphs for the tests in this folder: real processes, real DDS."""

import os

import pytest
from live_graph import LiveGraph


@pytest.fixture(scope="session", autouse=True)
def keep_to_this_machine():
    """Nothing beyond this machine hears the tests' graphs, and the environment is put back after them."""
    before = dict(os.environ)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def graph(tmp_path):
    live = LiveGraph(tmp_path)
    yield live
    live.close()
