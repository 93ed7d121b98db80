"""The package as it is installed: messages, programs, the Fast DDS profile, and the set-up behind `make`."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import rclpy
from ament_index_python.packages import get_package_prefix, get_package_share_directory
from dytrack_ros.msg import TrackStatus
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2D, Detection3D

import dytrack_ros
from dytrack_ros.policies import ExitReason
from dytrack_ros.version import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
PREFIX = Path(get_package_prefix("dytrack_ros"))
PROFILE = Path(get_package_share_directory("dytrack_ros"), "config", "fastdds_large_images.xml")
MIB = 2**20

made_by_make = pytest.mark.skipif(
    not (PREFIX / ".complete").exists(), reason="built by colcon alone, not by make setup"
)


def test_the_installed_package_is_imported():
    assert Path(dytrack_ros.__file__).is_relative_to(PREFIX)
    assert Path(importlib.import_module("dytrack_ros.msg").__file__).is_relative_to(PREFIX)


def test_one_version():
    package = ElementTree.parse(CHECKOUT / "package.xml").getroot()
    assert package.findtext("version") == __version__
    assert f"\nversion: {__version__}\n" in (CHECKOUT / "CITATION.cff").read_text()


# Messages


@pytest.mark.parametrize(
    ("kind", "type_hash"),
    [
        (Detection2D, "RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea"),
        (Detection3D, "RIHS01_ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b"),
        (TFMessage, "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"),
    ],
)
def test_the_underlay_has_the_official_types(kind, type_hash):
    """The hash that the middleware announces, so a subscriber built with the official package matches."""
    rclpy.init(domain_id=91)
    try:
        node = rclpy.create_node("type_hash_test")
        node.create_publisher(kind, "messages", 1)
        (info,) = node.get_publishers_info_by_topic("messages")
    finally:
        rclpy.shutdown()
    if not hasattr(info, "topic_type_hash"):
        pytest.skip("ROS 2 before Iron has no type hashes")
    assert str(info.topic_type_hash) == type_hash


def test_the_constants_of_status_are_those_of_the_library():
    states = TrackStatus.IDLE, TrackStatus.TRACKING, TrackStatus.UNCERTAIN, TrackStatus.LOST
    assert states == (0, 1, 2, 3)
    reasons = {reason.name: getattr(TrackStatus, reason.name) for reason in ExitReason}
    assert reasons == {reason.name: reason.value for reason in ExitReason}


# Programs


def program_table() -> dict[str, str]:
    """Name and module of each program, from pyproject.toml."""
    text = (CHECKOUT / "pyproject.toml").read_text()
    return dict(re.findall(r'^([a-z_]+) = "(dytrack_ros\.[a-z_.]+):main"$', text, re.MULTILINE))


def test_every_program_is_installed_and_no_other():
    installed = {path.name for path in (PREFIX / "lib" / "dytrack_ros").iterdir() if os.access(path, os.X_OK)}
    assert installed == set(program_table())
    assert installed >= {"tracker_node", "camera_node", "dytrack"}


@pytest.mark.parametrize("name", program_table())
def test_program_has_a_main(name):
    assert callable(importlib.import_module(program_table()[name]).main)


# Fast DDS profile

REPORT_FAST_DDS_RESOURCES = """
import os, pathlib, re, socket, stat
import rclpy

rclpy.init(domain_id=92)
node = rclpy.create_node("profile_test")
for mapping in pathlib.Path("/proc/self/maps").read_text().splitlines():
    if re.search(r"/dev/shm/(fastrtps|fastdds)_[0-9a-f]{16}$", mapping):
        print("segment", pathlib.Path(mapping.split()[-1]).stat().st_size)
for descriptor in os.listdir("/proc/self/fd"):
    try:
        is_socket = stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
    except OSError:
        continue
    if is_socket:
        with socket.socket(fileno=os.dup(int(descriptor))) as shared:
            if shared.family == socket.AF_INET and shared.type == socket.SOCK_DGRAM:
                print("receive", shared.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
                print("send", shared.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
rclpy.shutdown()
"""


def test_profile_gives_the_sizes():
    """What a participant really has: at least one 64 MiB segment, and sockets as large as the kernel allows."""
    environment = os.environ | {
        "FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
    }
    report = subprocess.run(
        [sys.executable, "-c", REPORT_FAST_DDS_RESOURCES], env=environment, capture_output=True, text=True, timeout=60
    )
    assert report.returncode == 0, report.stderr
    sizes: dict[str, set[int]] = {}
    for line in report.stdout.splitlines():
        kind, size = line.split()
        sizes.setdefault(kind, set()).add(int(size))
    assert max(sizes["segment"]) >= 64 * MIB
    for kind, limit in (("receive", "rmem_max"), ("send", "wmem_max")):
        kernel_limit = int(Path("/proc/sys/net/core", limit).read_text())
        assert max(sizes[kind]) == 2 * min(4 * MIB, kernel_limit)  # Linux reports the double


# make setup


def make(*arguments: str) -> subprocess.CompletedProcess:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    command = ["make", f"ROS_DISTRO={os.environ['ROS_DISTRO']}", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60)


@made_by_make
def test_a_second_setup_does_nothing():
    stamp = PREFIX / ".complete"
    built_at = stamp.stat().st_mtime_ns
    assert make("--question", "setup").returncode == 0, "the sources have changed since the last make setup"
    started = time.monotonic()
    repeated = make("setup")
    assert repeated.returncode == 0, repeated.stderr
    assert time.monotonic() - started < 3
    assert "Nothing to be done" in repeated.stdout
    assert stamp.stat().st_mtime_ns == built_at


@made_by_make
@pytest.mark.parametrize(
    "edited", ["dytrack_ros/__init__.py", "msg/TrackStatus.msg", "config/fastdds_large_images.xml"]
)
def test_an_edited_source_is_noticed(edited):
    assert make("--question", f"--assume-new={edited}", "setup").returncode == 1


@made_by_make
def test_a_clip_may_have_any_name():
    ran = make("--old-file=setup", "demo", "ros_env=echo", "VIDEO=Anna's 5$ clip.mp4", "BOX=1,2,3,4")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("demo --out demo --video Anna's 5$ clip.mp4 --box 1,2,3,4\n")


def test_a_path_that_is_not_ascii_is_refused_at_once(tmp_path):
    folder = tmp_path / "k\u00e4se"
    folder.mkdir()
    shutil.copy(CHECKOUT / "Makefile", folder)
    refused = subprocess.run(["make", "setup"], cwd=folder, capture_output=True, text=True, timeout=10)
    assert refused.returncode == 2
    assert "ASCII letters only" in refused.stderr


def test_programs_can_be_linked_to():
    """With `colcon build --symlink-install` the program is the file that CMake made of this one."""
    assert os.access(CHECKOUT / "tools" / "program.py.in", os.X_OK)


@pytest.mark.parametrize("signal_in", ["import", "main"])
def test_ctrl_c_while_a_program_is_imported_prints_nothing(tmp_path, signal_in):
    """As a native module does, the import turns KeyboardInterrupt into an error of its own."""
    interrupt = "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)"
    in_import = f"try:\n    {interrupt}\nexcept KeyboardInterrupt:\n    raise ImportError('half imported')\n"
    in_main = f"def main():\n    try:\n        {interrupt}\n    except KeyboardInterrupt:\n        return 3\n"
    (tmp_path / "slow.py").write_text("import os, signal, time\n" + (in_import if signal_in == "import" else in_main))
    program = tmp_path / "program"
    program.write_text((CHECKOUT / "tools" / "program.py.in").read_text().replace("@program_module@", "slow"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30, env=environment)
    assert (done.returncode, done.stderr) == (130 if signal_in == "import" else 3, "")


@made_by_make
def test_the_wheels_name_no_folder_of_their_build_machine():
    python_environment = Path(sys.executable).parents[1]
    exports = list(python_environment.glob("share/*/cmake/*.cmake"))
    assert exports
    assert [path for path in exports if "/opt/python/" in path.read_text()] == []


@pytest.mark.parametrize(
    ("present", "packages"),
    [
        (["python3"], "g++ cmake"),
        (["python3", "cmake"], "g++"),
        (["g++", "cmake"], "python3 python3-venv python3-dev"),
    ],
)
@made_by_make
def test_a_missing_tool_is_one_line_with_its_debian_package(tmp_path, present, packages):
    for name in ["bash", "uname", *present]:
        (tmp_path / name).symlink_to(shutil.which(name))
    refused = subprocess.run(
        [CHECKOUT / "tools" / "setup_venv", "kilted", tmp_path / "venv"],
        cwd=CHECKOUT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.endswith(f": sudo apt install {packages}\n")
    assert not (tmp_path / "venv").exists()


@made_by_make
def test_a_workspace_does_not_build_the_underlay():
    """On a robot the distribution's vision_msgs must not be shadowed."""
    found = subprocess.run(
        ["colcon", "list", "--names-only", "--base-paths", CHECKOUT, CHECKOUT / "underlay"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["dytrack_ros"]
