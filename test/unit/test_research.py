"""The scripts of benchmarks/ and research/ that need no ROS: they import and know their options."""

import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="benchmarks/budget.py draws with matplotlib")

ROOT = Path(__file__).parents[2]
NEED_ROS = {"metered_tracker", "node", "node_graph", "panel_clients", "pictures"}
SCRIPTS = [
    path
    for folder in ("research", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
    if path.stem not in NEED_ROS
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_starts(script, monkeypatch, capsys):
    # As under PYTHONSAFEPATH, which tools/ros_env sets: a script must find its neighbours itself.
    folders = {str(ROOT / "research"), str(ROOT / "benchmarks")}
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in folders])
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == 0
    assert f"usage: {script.name}" in capsys.readouterr().out
