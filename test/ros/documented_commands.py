"""Documented commands are typed into bash, where each program only records its words; then the words are checked.

Checked are programs, options, launch arguments, parameters with their values, topics, messages and paths.
"""

import argparse
import contextlib
import importlib
import io
import re
import subprocess

import launch_stand_in
import pytest
import reference
import yaml
from documents import CHECKOUT
from test_platform import program_table

from dytrack_ros.cli.main import SUBCOMMANDS
from dytrack_ros.nodes.parameter_schema import complaint

# Other people's programs: known by name, their options are theirs.
FOREIGN = ["apt", "colcon", "fastdds", "git", "jetson_clocks", "nvpmodel", "pip", "rosdep", "rsync", "ssh", "sysctl"]
OURS = ["dytrack", "make", "pytest", "python", "python3", "ros2", "sudo", "tools/ros_env", "torchrun"]
RECORD = """#!/bin/bash
printf '%s\\0' "${0#"$STUBS"/}" "$@" $'\\n' >>"$RECORDS"
"""
# Topics of camera drivers, beside those of our own nodes.
TOPICS = {"image_raw", "image"} | set(re.findall(r"^\| \w+ \| `~?/?(\w+)`", reference.GENERATED_TOPICS, re.MULTILINE))


def typed(text, folder):
    """Return the words of each call that bash makes of a piece of shell; no program is run."""
    records, stubs = folder / "records", folder / "stubs"
    for program in (*FOREIGN, *OURS):
        path = stubs / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RECORD)
        path.chmod(0o755)
    records.write_text("")
    builtins = "cd() { :; }; source() { :; }; set -eu\n"
    done = subprocess.run(
        ["/bin/bash", "-c", builtins + text.replace("tools/ros_env", f"{stubs}/tools/ros_env")],
        env={"PATH": str(stubs), "STUBS": str(stubs), "RECORDS": str(records), "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [call.strip("\0").split("\0") for call in records.read_text().split("\n\0")[:-1]]


def check(words):
    """Raise AssertionError with what is wrong with a command, given as its words."""
    program, *rest = words
    if program in ("sudo", "tools/ros_env"):
        check(rest)
    elif program == "dytrack":
        assert rest and rest[0] in SUBCOMMANDS, f"dytrack has no command {rest[:1]}"
        check_arguments(SUBCOMMANDS[rest[0]].module, rest[1:])
    elif program in ("python", "python3", "torchrun") and "-m" in rest:
        module, *arguments = rest[rest.index("-m") + 1 :]
        if module.startswith("dytrack_ros."):
            check_arguments(module, arguments)
    elif program.startswith(("benchmarks/", "research/")):
        check_arguments(program, rest)
    elif program == "make":
        check_make(rest)
    elif program == "pytest":
        for path in [word for word in rest if "/" in word]:
            assert (CHECKOUT / path).exists(), f"no {path}"
    elif program == "ros2":
        check_ros2(*rest)
    else:
        assert program in (*FOREIGN, *OURS), f"unknown program {program}"


def check_arguments(program, arguments):
    """`program` is a module, or a script below the checkout."""
    parser = reference.parser_of(str(CHECKOUT / program) if program.endswith(".py") else program)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            parser.parse_args(arguments)
        except SystemExit as end:
            assert end.code == 0, f"{program} {' '.join(arguments)}: {said.getvalue().strip().splitlines()[-1]}"
    check_options(parser, program, arguments)  # argparse takes abbreviations, too


def check_options(parser, program, arguments):
    known = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            known |= {option for choice in action.choices.values() for option in choice._option_string_actions}
    for word in arguments:
        assert not word.startswith("--") or word.partition("=")[0] in known, f"{program} has no option {word}"


def check_make(words):
    makefile = (CHECKOUT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{re.escape(name)} *=" if is_variable else rf"^{re.escape(name)}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"make knows no {name}"


def check_ros2(command, *rest):
    plain = [word for word in rest if not word.startswith("-")]
    if command == "run" and rest[0] == "dytrack_ros":
        assert rest[1] in program_table(), f"there is no program {rest[1]}"
        check_ros_arguments(rest[1], rest[2:]) if rest[1] in reference.NODES else check(rest[1:])
    elif command == "launch" and rest[0] == "dytrack_ros":
        check_launch(*rest[1:])
    elif command == "param" and rest[0] == "set":
        check_parameter(rest[1].rpartition("/")[2], rest[2], yaml.safe_load(rest[3]))
    elif command == "topic" and rest[0] == "pub":
        topic, kind, text = plain[-3:]
        assert topic.removeprefix("/") in TOPICS, f"no topic {topic}"
        fill(interface(kind)(), yaml.safe_load(text))
    elif command == "topic" and rest[0] in ("echo", "hz", "info"):
        assert plain[1].rpartition("/")[2] in TOPICS | {"diagnostics"}, f"no topic {plain[1]}"
    elif command == "service":
        assert plain[1].rpartition("/")[2] in TOPICS, f"no service {plain[1]}"
        interface(plain[2])
    else:
        assert command in {"action", "bag", "launch", "lifecycle", "param", "pkg", "run", "topic"}, (
            f"ros2 has no command {command} here"
        )


def check_launch(file, *arguments):
    with pytest.MonkeyPatch.context() as patch:  # launch is no package of PyPI
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
        assert is_given and flag in ("-p", "-r"), f"{node}: {flag} {word}"
        if flag == "-r":
            assert name in TOPICS, f"{node} has no topic {name}"
        elif not name.startswith("qos_overrides."):
            check_parameter(node, name, yaml.safe_load(value))


def check_parameter(node, name, value):
    (parameter,) = [p for p in reference.NODES[node] if p.name == name] or [None]
    assert parameter, f"{node} has no parameter {name}"
    assert type(value) is type(parameter.default), f"{name} is a {type(parameter.default).__name__}, not {value!r}"
    assert not (reason := complaint((parameter,), {name: value})), reason


def interface(name):
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
