"""Starts tracker_node with a Fast DDS profile for large images; on request also the bridges and the panel.

`ros2 launch dytrack_ros tracker.launch.py --show-args` lists the arguments.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

CONFIG = Path(get_package_share_directory("dytrack_ros")) / "config"

# Up to Jazzy Fast DDS reads only the old name; from Kilted on it warns about that one.
OLD_VARIABLE, NEW_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
FAST_DDS_VARIABLE = OLD_VARIABLE if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else NEW_VARIABLE

# These set the parameter of the same name; left empty, the parameter file decides.
OVERRIDES = {
    "image_transport": "raw or compressed; empty: as in params_file",
    "model": "auto, shipped model name or path of a .safetensors file; empty: as in params_file",
    "engine": "what runs the network: auto, torch ...; empty: as in params_file",
    "device": "device of the engine: auto, cpu, cuda:0 ...; empty: as in params_file",
}


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
        DeclareLaunchArgument(
            "image", default_value="image", description="image topic to follow (base topic of both transports)"
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(CONFIG / "tracker.yaml"),
            description="parameters of the node; start from a copy of the default",
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", description="take time from /clock (simulation, bags)"
        ),
        DeclareLaunchArgument(
            "detections",
            default_value="",
            description="Detection2DArray topic of a detector to take the target from; empty: none",
        ),
        DeclareLaunchArgument(
            "target_class", default_value="", description="class of the detections to follow; empty: any"
        ),
        DeclareLaunchArgument(
            "point", default_value="", description="PointStamped topic of clicks on the target, in pixels; empty: none"
        ),
        DeclareLaunchArgument(
            "depth",
            default_value="",
            description="depth image topic, registered to the image, for target_pose; empty: none",
        ),
        DeclareLaunchArgument(
            "target_size_m",
            default_value="",
            description="[width, height] of the target in metres (0.0: not known), for target_pose; empty: none",
        ),
        DeclareLaunchArgument(
            "bearing", default_value="false", description="true: target_bearing too, the angles to the target"
        ),
        DeclareLaunchArgument(
            "panel", default_value="false", description="true: dytrack_panel too, a web page to select targets"
        ),
        DeclareLaunchArgument(
            "panel_port", default_value="", description="port of the panel; empty: as in params_file, or 8020"
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
        *(DeclareLaunchArgument(name, default_value="", description=text) for name, text in OVERRIDES.items()),
    ]
    return LaunchDescription([*arguments, *large_image_transport(), OpaqueFunction(function=start_nodes)])


def large_image_transport():
    """Set the profile for large images, unless the user has set one or uses another RMW than Fast DDS."""
    chosen = os.environ.get(OLD_VARIABLE) or os.environ.get(NEW_VARIABLE)
    if chosen or "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return []
    return [SetEnvironmentVariable(FAST_DDS_VARIABLE, str(CONFIG / "fastdds_large_images.xml"))]


def is_true(text):
    return text.lower() in ("true", "1", "yes", "on")


def start_nodes(context):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    def node(executable, parameters, remappings):
        return Node(
            package="dytrack_ros",
            executable=executable,
            namespace=value("namespace"),
            parameters=[value("params_file"), {"use_sim_time": use_sim_time, **parameters}],
            remappings=remappings,
            arguments=["--ros-args", "--log-level", value("log_level")],
            output="screen",
            emulate_tty=True,
        )

    # As strings, so that a model named 2024 does not become a number.
    overrides = {name: ParameterValue(value(name), value_type=str) for name in OVERRIDES if value(name)}
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    nodes = [node("tracker_node", overrides, [("image", value("image"))])]
    # Camera drivers publish camera_info beside the image.
    camera_info = ("camera_info", "/".join([*value("image").split("/")[:-1], "camera_info"]))
    if value("detections"):
        wanted = {"class_id": ParameterValue(value("target_class"), value_type=str)} if value("target_class") else {}
        nodes.append(node("init_from_detections", wanted, [("detections", value("detections")), camera_info]))
    if value("point"):
        # rqt_image_view publishes its clicks on this topic.
        clicks = [("point", value("point")), ("click", f"{value('image')}_mouse_left")]
        nodes.append(node("init_from_point", {}, clicks))
    if value("depth") or value("target_size_m"):
        given = {"target_size_m": LaunchConfiguration("target_size_m")} if value("target_size_m") else {}
        depth = [("depth", value("depth"))] if value("depth") else []
        nodes.append(node("target_pose", {"use_depth": bool(depth), **given}, [*depth, camera_info]))
    if is_true(value("bearing")):
        nodes.append(node("target_bearing", {}, [camera_info]))
    if is_true(value("panel")):
        # The panel finds the tracker's topics by itself, remapped ones too.
        port = {"port": ParameterValue(value("panel_port"), value_type=int)} if value("panel_port") else {}
        nodes.append(node("dytrack_panel", port, []))
    return nodes
