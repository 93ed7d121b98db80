"""Whether a documented command can be what it says: programs, options, launch arguments, parameters, topics, messages.

Nothing is run here but the argument parsers, each taken from its program in the moment in which it would read its arguments.
"""

import argparse
import contextlib
import importlib
import io
import re
import runpy
import sys
from unittest import mock

import launch_stand_in
import pytest
import yaml
from documents import CHECKOUT
from test_platform import program_table

from dytrack_ros.nodes.bridges.__main__ import TABLES as BRIDGES
from dytrack_ros.nodes.demo.camera_node import PARAMETERS as CAMERA
from dytrack_ros.nodes.panel.node import PARAMETERS as PANEL
from dytrack_ros.nodes.parameter_schema import complaint
from dytrack_ros.nodes.parameters import TRACKER

NODES = {"tracker_node": TRACKER, "camera_node": CAMERA, "dytrack_panel": PANEL, **BRIDGES}
MODULES = {name: module for name, module in program_table().items() if name not in NODES}

# Other people's programs: known by name, their options are theirs.
FOREIGN = {
    *("apt", "cd", "colcon", "export", "git", "jetson_clocks", "nvpmodel", "pip", "pre-commit", "rosdep"),
    *("rsync", "source", "ssh", "sysctl"),
}
WRAPPERS = {"sudo": 0, "tools/ros_env": 0, "taskset": 2}
_ROS2 = {"bag", "launch", "param", "pkg", "run", "service", "topic"}


class Captured(Exception):
    def __init__(self, parser):
        self.parser = parser


def parser_of(program):
    """The argument parser of a program of pyproject.toml, of a module, or of a script in benchmarks/."""

    def capture(parser, *arguments, **options):
        raise Captured(parser)

    try:
        with (
            mock.patch.object(argparse.ArgumentParser, "parse_args", capture),
            mock.patch.object(sys, "argv", [program]),
        ):
            if program.endswith(".py"):
                runpy.run_path(str(CHECKOUT / program), run_name="__main__")
            else:
                importlib.import_module(MODULES.get(program, program)).main([])
    except Captured as captured:
        return captured.parser
    raise AssertionError(f"{program} has no argument parser")


def check_arguments(program, arguments):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            parser_of(program).parse_args(arguments)
        except SystemExit as end:
            assert end.code == 0, f"{program} {' '.join(arguments)}: {said.getvalue().strip().splitlines()[-1]}"
    check_options(program, arguments)  # written out: argparse takes beginnings, too


def check_options(program, arguments):
    """Of a fragment in the text, which need not be a whole command: only that its options exist."""
    parser = parser_of(program)
    subparsers = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    known = set(parser._option_string_actions)
    for choice in (each for action in subparsers for each in action.choices.values()):
        known |= set(choice._option_string_actions)
    for word in arguments:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{program} has no option {word}"


def check(words, is_fragment=False):
    """Raises AssertionError with what is wrong with a command, given as its words."""
    while words and (words[0] in WRAPPERS or re.fullmatch(r"[A-Z_]+=\S*", words[0])):
        words = words[1 + WRAPPERS.get(words[0], 0) :]
    if is_fragment and (not words or words == ["COMMAND"]):
        return
    check_program = check_options if is_fragment else check_arguments
    program, *arguments = words
    if program == "export" and "=" in arguments[0]:  # the shell's
        return
    name = program.removeprefix("install/lib/dytrack_ros/")
    if name in NODES:
        check_ros_arguments(name, arguments)
    elif name in MODULES or (program.startswith("benchmarks/") and program.endswith(".py")):
        check_program(name, arguments)
    elif program in ("python", "python3", "torchrun"):
        if "-m" in arguments:
            module, *rest = arguments[arguments.index("-m") + 1 :]
            if module.startswith("dytrack_ros.") and rest and rest[0] != ">":
                check_program(module, rest)
    elif program == "make":
        check_make(arguments)
    elif program == "pytest":
        for path in arguments:
            assert path.startswith("-") or (CHECKOUT / path).exists() or arguments[-2] == "-k", f"no {path}"
    elif program == "ros2":
        assert arguments[0] in _ROS2, f"ros2 has no command {arguments[0]} here"
        check_ros2(arguments, check_program)
    else:
        assert program in FOREIGN, f"unknown program {program}"


def check_make(arguments):
    makefile = (CHECKOUT / "Makefile").read_text()
    for word in arguments:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{re.escape(name)} *=" if is_variable else rf"^{re.escape(name)}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"make knows no {name}"


def check_ros2(arguments, check_program):
    command, *rest = arguments
    plain = [word for word in rest if not word.startswith("-")]
    if check_program is check_options and len(plain) < 2:  # the command's name alone, such as `ros2 param set`
        return
    if command == "run" and rest[0] == "dytrack_ros":
        if rest[1] in NODES:
            check_ros_arguments(rest[1], rest[2:])
        else:
            assert rest[1] in MODULES, f"there is no program {rest[1]}"
            check_program(rest[1], rest[2:])
    elif command == "launch" and rest[0] == "dytrack_ros":
        check_launch(*rest[1:])
    elif command == "param" and rest[0] == "set":
        node, name, value = rest[1:]
        check_parameter(node.rpartition("/")[2], name, yaml.safe_load(value))
    elif command == "topic" and rest[0] == "pub":
        topic, type_name, text = plain[1:]
        assert topic.rpartition("/")[2] in topics(), f"no topic {topic}"
        fill(message_class(type_name)(), yaml.safe_load(text))
    elif command == "topic" and rest[0] in ("echo", "hz", "info"):
        assert plain[1].rpartition("/")[2] in topics(), f"no topic {plain[1]}"
    elif command == "service":
        name, type_name = plain[1:3]
        assert name.startswith("/tracker_node/") and f'"~/{name.rpartition("/")[2]}"' in _source("tracker_node")
        message_class(type_name)


def check_launch(file, *arguments):
    # The part of the launch file that needs no ROS is run with a stand-in for launch.
    with pytest.MonkeyPatch.context() as patch:
        declared = launch_stand_in.arguments(launch_stand_in.description(CHECKOUT / "launch" / file, patch))
        if file == "demo.launch.py":
            tracker = launch_stand_in.description(CHECKOUT / "launch" / "tracker.launch.py", patch)
            declared |= launch_stand_in.arguments(tracker)
    for argument in arguments:
        name, is_given, _ = argument.partition(":=")
        assert argument == "--show-args" or (is_given and name in declared), f"{file} has no argument {argument}"


def check_ros_arguments(node, arguments):
    """`--ros-args -p NAME:=VALUE -r FROM:=TO` of one of our nodes."""
    assert not arguments or arguments[0] == "--ros-args", f"{node} takes only --ros-args"
    for flag, word in zip(arguments[1::2], arguments[2::2], strict=True):
        name, is_given, value = word.partition(":=")
        assert is_given and flag in ("-p", "-r", "--params-file"), f"{node}: {flag} {word}"
        if flag == "-p" and not name.startswith("qos_overrides."):
            check_parameter(node, name, yaml.safe_load(value))
        elif flag == "-r":
            assert name in topics(node) | {"__ns", "__node"}, f"{node} has no topic {name}"


def check_parameter(node, name, value):
    (parameter,) = [p for p in NODES[node] if p.name == name] or [None]
    assert parameter, f"{node} has no parameter {name}"
    assert type(value) is type(parameter.default), f"{name} is a {type(parameter.default).__name__}, not {value!r}"
    values = {each.name: each.default for each in NODES[node]}
    assert not (reason := complaint((parameter,), values | {name: value})), reason


def topics(node=None):
    """The last parts of the topics that our nodes create, and those that a camera driver brings."""
    drivers = {"image_raw", "image", "overlay"}
    found = set() if node else drivers
    for each in [node] if node else NODES:
        found |= set(re.findall(r'create_(?:publisher|subscription)\([\w.]+, "/?(\w+)"', _source(each)))
        found |= set(re.findall(r'resolve_topic_name\("(\w+)"\)', _source(each)))
    return found


def _source(node):
    return (CHECKOUT / f"{program_table()[node].replace('.', '/')}.py").read_text()


def message_class(name):
    """The class of an interface written as package/msg/Name or package/srv/Name."""
    package, kind, last = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), last)


def fill(message, values):
    """Set a message's fields from nested mappings, as `ros2 topic pub` does; a wrong name or type is an error."""
    for name, value in values.items():
        assert name in message.get_fields_and_field_types(), f"{type(message).__name__} has no field {name}"
        if isinstance(value, dict):
            fill(getattr(message, name), value)
        else:
            setattr(message, name, value)
    return message
