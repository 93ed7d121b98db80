"""The PlotJuggler and Foxglove layouts: whole files of the programs' structure, and every field in them exists."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory
from dytrack_ros.msg import TrackStatus

from dytrack_ros.nodes.diagnostics import Health, report

CONFIG = Path(get_package_share_directory("dytrack_ros"), "config")
LENGTHS = {"exit_scores": 3, "exit_thresholds": 2, "stage_ms": 3}
SHOWN = {"state", "exit_index", "score", "exit_scores", "exit_thresholds", "latency_ms", "budget_ms", "frames_dropped"}


def check_status_field(field):
    """A field of TrackStatus, with an index where and only where it is an array; returns its name and type."""
    name, index = re.fullmatch(r"([a-z_]+)(?:\[(\d+)\])?", field).groups()
    kind = TrackStatus.get_fields_and_field_types()[name]
    assert kind.startswith("sequence<") == (index is not None), field
    if index is not None:
        assert int(index) < LENGTHS[name], field
    return name, kind


# ---- PlotJuggler


@pytest.fixture(scope="module")
def plotjuggler():
    return ElementTree.parse(CONFIG / "plotjuggler.xml").getroot()


def test_plotjuggler_draws_numbers_of_status(plotjuggler):
    names = [curve.get("name") for curve in plotjuggler.iter("curve")]
    assert len(names) == len(set(names))
    shown = set()
    for name in names:
        field, kind = check_status_field(name.removeprefix("/status/"))
        assert kind != "string"
        shown.add(field)
    assert shown >= SHOWN


def test_plotjuggler_subscribes_to_what_it_draws(plotjuggler):
    streamer = plotjuggler.find("previouslyLoaded_Streamer").get("name")
    (plugin,) = (plugin for plugin in plotjuggler.iter("plugin") if plugin.get("ID") == streamer)
    assert [topic.get("name") for topic in plugin.iter("topic")] == ["/status"]


def test_plotjuggler_windows_are_what_they_count(plotjuggler):
    for tab in plotjuggler.iter("Tab"):
        assert len(tab.findall("Container")) == int(tab.get("containers"))
    for splitter in plotjuggler.iter("DockSplitter"):
        sizes = [float(size) for size in splitter.get("sizes").split(";")]
        assert len(splitter) == int(splitter.get("count")) == len(sizes)
        assert sum(sizes) == pytest.approx(1)
        assert {child.tag for child in splitter} <= {"DockSplitter", "DockArea"}
    for area in plotjuggler.iter("DockArea"):
        (plot,) = area
        assert {child.tag for child in plot} == {"range", "limitY", "curve"}


# ---- Foxglove


@pytest.fixture(scope="module")
def foxglove():
    return json.loads((CONFIG / "foxglove.json").read_text())


def panels_of(node):
    if isinstance(node, str):
        return [node]
    assert node["direction"] in ("row", "column")
    assert 0 < node["splitPercentage"] < 100
    return panels_of(node["first"]) + panels_of(node["second"])


def test_foxglove_places_each_panel_once(foxglove):
    assert sorted(panels_of(foxglove["layout"])) == sorted(foxglove["configById"])
    kinds = {panel.partition("!")[0] for panel in foxglove["configById"]}
    assert kinds == {"Image", "Plot", "StateTransitions", "DiagnosticSummary", "DiagnosticStatusPanel"}


def test_foxglove_shows_fields_of_status(foxglove):
    shown = set()
    for panel, config in foxglove["configById"].items():
        for path in config.get("paths", ()):
            assert path["enabled"]
            field, kind = check_status_field(path["value"].removeprefix("/status."))
            assert kind != "string" or not panel.startswith("Plot!")
            shown.add(field)
    assert shown >= SHOWN


def test_foxglove_shows_the_overlay_and_the_diagnostics(foxglove):
    panels = foxglove["configById"]
    assert panels["Image!overlay"]["imageMode"]["imageTopic"] == "/overlay"
    statuses = report(
        "/tracker_node", Health(topic="/image", model="", model_reason="", engine="", silence_limit_s=3.0)
    ).status
    diagnostics = [config for panel, config in panels.items() if panel.startswith("Diagnostic")]
    assert {config["topicToRender"] for config in diagnostics} == {"/diagnostics"}
    for config in diagnostics:
        if "selectedName" in config:
            assert (config["selectedHardwareId"], config["selectedName"]) in {(s.hardware_id, s.name) for s in statuses}
