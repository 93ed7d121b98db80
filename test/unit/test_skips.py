"""Continuous integration fails for a skip that nobody has allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_runs():
    pass

def test_is_skipped():
    pytest.skip({reason!r})
"""


@pytest.mark.parametrize(
    ("reason", "forbid", "status"),
    [("needs a CUDA device", "1", 0), ("no time today", "1", 1), ("no time today", "", 0)],
)
def test_unexpected_skips_fail_where_they_are_forbidden(tmp_path, reason, forbid, status):
    (tmp_path / "test_one.py").write_text(TESTS.format(reason=reason))
    environment = os.environ | {
        "DYTRACK_FORBID_SKIPS": forbid,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "pytest", "-p", "skips", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stdout
    assert ("does not allow: no time today" in done.stdout) == bool(status)
