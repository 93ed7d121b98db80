"""Starts tracker.launch.py and a camera for it: a synthetic scene, or `source` with the target in `init_box`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

TRACKER = Path(get_package_share_directory("dytrack_ros")) / "launch" / "tracker.launch.py"


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "source",
                default_value="synthetic",
                description="video file, folder of images, webcam (its number or /dev/video0) or synthetic",
            ),
            DeclareLaunchArgument(
                "init_box",
                default_value="[0.0, 0.0, 0.0, 0.0]",
                description="the target on the first frame: [x, y, width, height] in pixels",
            ),
            DeclareLaunchArgument("rate_hz", default_value="10.0", description="frames a second"),
            DeclareLaunchArgument("loop", default_value="true", description="start again at the end of the clip"),
            # Declares the tracker's arguments too (namespace, image, model ...), and sets up Fast DDS for both nodes.
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(TRACKER))),
            Node(
                package="dytrack_ros",
                executable="camera_node",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        "source": ParameterValue(LaunchConfiguration("source"), value_type=str),
                        "init_box": LaunchConfiguration("init_box"),
                        "rate_hz": ParameterValue(LaunchConfiguration("rate_hz"), value_type=float),
                        "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
                        "publish_init": True,
                        "start_when_subscribed": 1,
                    }
                ],
                remappings=[("image", LaunchConfiguration("image"))],
                output="screen",
                emulate_tty=True,
            ),
        ]
    )
