"""As much of `launch` and `launch_ros` as the launch files use, for machines without a ROS distribution.

Everything only remembers its arguments; `perform` fills in those of a launch. Where launch_ros is installed, use it.
"""

import sys
from types import ModuleType, SimpleNamespace

MODULES = {
    "launch": ("LaunchDescription",),
    "launch.actions": ("DeclareLaunchArgument", "IncludeLaunchDescription", "OpaqueFunction", "SetEnvironmentVariable"),
    "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
    "launch.substitutions": ("LaunchConfiguration",),
    "launch_ros": (),
    "launch_ros.actions": ("Node",),
    "launch_ros.parameter_descriptions": ("ParameterValue",),
}


class Remembered(SimpleNamespace):
    """Its positional arguments are in `parts`, the others are attributes."""

    def __init__(self, *parts, **named):
        super().__init__(parts=parts, **named)


class LaunchConfiguration(Remembered):
    def perform(self, context):
        return context[self.parts[0]]


def modules():
    """The stand-ins by name, for `sys.modules`."""
    made = {name: ModuleType(name) for name in MODULES}
    for name, classes in MODULES.items():
        for each in classes:
            base = LaunchConfiguration if each == "LaunchConfiguration" else Remembered
            setattr(made[name], each, type(each, (base,), {}))
    return made


def description(path, patch):
    """The LaunchDescription of a launch file; `patch` is pytest's monkeypatch or the like."""
    for name, module in modules().items():
        patch.setitem(sys.modules, name, module)
    names = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text(), path.name, "exec"), names)
    return names["generate_launch_description"]()


def arguments(described):
    """The arguments that a description declares: name and default."""
    return {
        one.parts[0]: one.default_value for one in described.parts[0] if type(one).__name__ == "DeclareLaunchArgument"
    }


def started(described, **given):
    """The nodes that it starts with these arguments, by executable."""
    context = arguments(described) | given
    (function,) = [one.function for one in described.parts[0] if type(one).__name__ == "OpaqueFunction"]
    return {node.executable: node for node in function(context)}
