"""The launch files. launch_ros is not on PyPI: without a ROS distribution a stand-in shows what they would start."""

import importlib.util
from pathlib import Path

import launch_stand_in
import pytest
import yaml
from ament_index_python.packages import get_package_share_directory
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.messages import box_of

LAUNCH = Path(get_package_share_directory("dytrack_ros"), "launch")
FILES = ("tracker.launch.py", "demo.launch.py")
FAST_DDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


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


@pytest.mark.parametrize(
    ("given", "use_depth", "topics"),
    [
        ({"depth": "/camera/depth/image"}, True, {"depth": "/camera/depth/image"}),
        ({"target_size_m": "[0.5, 1.7]"}, False, {}),
        ({"depth": "/camera/depth/image", "target_size_m": "[0.5, 0.0]"}, True, {"depth": "/camera/depth/image"}),
    ],
)
def test_depth_or_a_known_size_starts_target_pose(monkeypatch, given, use_depth, topics):
    bridge = started(monkeypatch, image="/camera/image_raw", **given)["target_pose"]
    assert dict(bridge.remappings) == topics | {"camera_info": "/camera/camera_info"}
    _, values = bridge.parameters
    assert values["use_depth"] is use_depth
    assert ("target_size_m" in values) == ("target_size_m" in given)


def test_bearing_starts_when_asked_for(monkeypatch):
    bridge = started(monkeypatch, image="/camera/image_raw", bearing="true")["target_bearing"]
    assert dict(bridge.remappings) == {"camera_info": "/camera/camera_info"}
    assert "target_bearing" not in started(monkeypatch, bearing="false")


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
    assert 1 <= len(arguments) <= 20
    assert all(argument.description for argument in arguments)


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "1"])
def test_the_panel_starts_when_asked_for_on_its_own_port(monkeypatch, word):
    nodes = started(monkeypatch, panel=word, panel_port="8021", namespace="right")
    assert list(nodes) == ["tracker_node", "dytrack_panel"]
    assert parameters_of(nodes["dytrack_panel"])[1]["port"] == "8021"
    assert "port" not in parameters_of(started(monkeypatch, panel=word)["dytrack_panel"])[1]
    for word in ("false", "False", "0", ""):
        assert list(started(monkeypatch, panel=word)) == ["tracker_node"]


OLD, NEW = FAST_DDS_VARIABLES


@pytest.mark.parametrize(
    ("environment", "variables"),
    [
        ({"ROS_DISTRO": "humble"}, [OLD]),
        ({"ROS_DISTRO": "jazzy"}, [OLD]),
        ({"ROS_DISTRO": "kilted"}, [NEW]),
        ({"ROS_DISTRO": "kilted", "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, [NEW]),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, []),
        ({OLD: "mine.xml"}, []),
        ({NEW: "mine.xml"}, []),
    ],
)
def test_the_variable_that_the_distribution_reads_is_set_unless_the_user_chose(monkeypatch, environment, variables):
    for variable in (*FAST_DDS_VARIABLES, "RMW_IMPLEMENTATION", "ROS_DISTRO"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    described = launch_stand_in.description(LAUNCH / "tracker.launch.py", monkeypatch)
    actions = [one for one in described.parts[0] if type(one).__name__ == "SetEnvironmentVariable"]
    assert [action.parts[0] for action in actions] == variables


def test_the_init_box_of_the_demo_may_have_blanks_and_integers(graph, monkeypatch):
    described = launch_stand_in.description(LAUNCH / "demo.launch.py", monkeypatch)
    (camera,) = [part for part in described.parts[0] if getattr(part, "executable", None) == "camera_node"]
    text = camera.parameters[0]["init_box"].perform({"init_box": "[120, 80, 60, 40]"})
    inits = {}
    graph.listen(Detection2D, "init", inits)
    # launch_ros reads the text of a parameter as YAML.
    given = {"source": "synthetic", "publish_init": True, "init_box": yaml.safe_load(text)}
    graph.start("camera_node", start_when_subscribed=1, **given)
    graph.listen(Image, "image", graph.images)
    assert box_of(graph.wait_until(lambda: [*inits.values()], "init")[0]) == (120, 80, 60, 40)
