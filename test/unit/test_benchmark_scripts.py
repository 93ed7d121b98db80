"""The benchmarks that import one another start as the documentation says, under `tools/ros_env`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["ablations", "levers", "trust"])
def test_a_script_finds_its_neighbours(name, tmp_path):
    environment = os.environ | {"PYTHONSAFEPATH": "1"}  # as tools/ros_env sets it
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--help"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"benchmarks/{name}.py" in done.stdout
