"""Starts tracker_node, and dytrack_panel if asked to, with a Fast DDS profile for large images.

`ros2 launch dytrack_ros tracker.launch.py --show-args` lists the arguments.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

CONFIG = Path(get_package_share_directory("dytrack_ros")) / "config"

# Both names: Humble and Jazzy know only the first.
FAST_DDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

# These set the parameter of the same name; left empty, the parameter file decides.
OVERRIDES = {
    "image_transport": "raw or compressed; empty: as in params_file",
    "model": "shipped model name or path of a .safetensors file; empty: as in params_file",
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
        DeclareLaunchArgument("panel", default_value="false", description="true: dytrack_panel too, a page to point at targets"),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
        *(DeclareLaunchArgument(name, default_value="", description=text) for name, text in OVERRIDES.items()),
    ]
    return LaunchDescription([*arguments, *large_image_transport(), OpaqueFunction(function=start_tracker)])


def large_image_transport():
    """The profile for large images, unless the user has set one or uses another RMW than Fast DDS."""
    chosen = any(os.environ.get(variable) for variable in FAST_DDS_VARIABLES)
    if chosen or "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return []
    profile = str(CONFIG / "fastdds_large_images.xml")
    return [SetEnvironmentVariable(variable, profile) for variable in FAST_DDS_VARIABLES]


def start_tracker(context):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    # As strings: a model named 2024 must not turn into a number.
    overrides = {name: ParameterValue(value(name), value_type=str) for name in OVERRIDES if value(name)}
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return [
        Node(
            package="dytrack_ros",
            executable="tracker_node",
            namespace=value("namespace"),
            parameters=[value("params_file"), {"use_sim_time": use_sim_time, **overrides}],
            remappings=[("image", value("image"))],
            arguments=["--ros-args", "--log-level", value("log_level")],
            output="screen",
            emulate_tty=True,
        ),
        # Finds the tracker's topics by itself, remapped ones too; in params_file its parameters may stand beside the tracker's.
        Node(
            package="dytrack_ros",
            executable="dytrack_panel",
            namespace=value("namespace"),
            parameters=[value("params_file"), {"use_sim_time": use_sim_time}],
            arguments=["--ros-args", "--log-level", value("log_level")],
            output="screen",
            emulate_tty=True,
            condition=IfCondition(LaunchConfiguration("panel")),
        ),
    ]
