"""The launch files. launch_ros is not on PyPI: without a ROS distribution a stand-in shows what they would start."""

import importlib.util
import os
from pathlib import Path

import launch_stand_in
import pytest
from ament_index_python.packages import get_package_share_directory

LAUNCH = Path(get_package_share_directory("dytrack_ros"), "launch")
FILES = ("tracker.launch.py", "demo.launch.py")
FAST_DDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


@pytest.mark.parametrize("name", FILES)
def test_launch_file_compiles(name):
    compile((LAUNCH / name).read_text(), name, "exec")


def started(monkeypatch, **given):
    described = launch_stand_in.description(LAUNCH / "tracker.launch.py", monkeypatch)
    assert given.keys() <= launch_stand_in.arguments(described).keys()
    return launch_stand_in.started(described, **given)


def parameters_of(node):
    params_file, values = node.parameters
    return params_file, {name: value.parts[0] for name, value in values.items()}


def test_only_the_tracker_is_started_unless_more_is_asked_for(monkeypatch):
    assert list(started(monkeypatch)) == ["tracker_node"]


def test_a_topic_of_detections_starts_the_bridge(monkeypatch):
    nodes = started(
        monkeypatch,
        image="/camera/image_raw",
        detections="/yolo/detections",
        target_class="person",
        namespace="left",
        params_file="mine.yaml",
    )
    assert list(nodes) == ["tracker_node", "init_from_detections"]
    bridge = nodes["init_from_detections"]
    assert dict(bridge.remappings) == {"detections": "/yolo/detections", "camera_info": "/camera/camera_info"}
    params_file, values = parameters_of(bridge)
    assert (params_file, values["class_id"], bridge.namespace) == ("mine.yaml", "person", "left")
    assert "class_id" not in parameters_of(started(monkeypatch, detections="x")["init_from_detections"])[1]


def test_a_topic_of_points_starts_the_bridge(monkeypatch):
    bridge = started(monkeypatch, image="/camera/image_raw", point="/clicks")["init_from_point"]
    assert dict(bridge.remappings) == {"point": "/clicks", "click": "/camera/image_raw_mouse_left"}


@pytest.fixture
def describe():
    pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS distribution, not from PyPI")

    def load(name):
        spec = importlib.util.spec_from_file_location(name.partition(".")[0], LAUNCH / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.generate_launch_description()

    return load


@pytest.mark.parametrize("name", FILES)
def test_arguments_are_few_and_described(describe, name):
    arguments = [entity for entity in describe(name).entities if hasattr(entity, "default_value")]
    assert 1 <= len(arguments) <= 14
    assert all(argument.description for argument in arguments)


@pytest.mark.parametrize(
    ("panel", "programs"), [("false", {"tracker_node"}), ("true", {"tracker_node", "dytrack_panel"})]
)
def test_the_panel_starts_when_asked_for(describe, panel, programs):
    from launch.actions import OpaqueFunction

    from launch import LaunchContext

    context = LaunchContext()
    (function,) = [entity for entity in describe("tracker.launch.py").entities if isinstance(entity, OpaqueFunction)]
    for argument in [entity for entity in describe("tracker.launch.py").entities if hasattr(entity, "default_value")]:
        argument.execute(context)
    context.launch_configurations["panel"] = panel
    nodes = [node for node in function.execute(context) if node.condition is None or node.condition.evaluate(context)]
    assert {node.node_executable for node in nodes} == programs


@pytest.mark.parametrize(
    ("environment", "sets_profile"),
    [
        ({}, True),
        ({"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, True),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, False),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}, False),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"}, False),
    ],
)
def test_fast_dds_profile_unless_the_user_chose(describe, monkeypatch, environment, sets_profile):
    from launch.actions import SetEnvironmentVariable

    for variable in (*FAST_DDS_VARIABLES, "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setitem(os.environ, variable, value)
    actions = [entity for entity in describe(FILES[0]).entities if isinstance(entity, SetEnvironmentVariable)]
    assert len(actions) == (2 if sets_profile else 0)
