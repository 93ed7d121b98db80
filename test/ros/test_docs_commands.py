"""Every command in README.md and docs/*.md runs here, or says what it needs, or names the test that does the same.

What runs, runs as it stands in the document, in a folder with made-up data under the names that the documents use
(SEQUENCES, SHARDS, LASOT ...), with these substitutions: the networks are miniatures, `train` takes one step of two pairs,
`evaluate` and `calibrate` compute with PyTorch on one thread in this one process.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import documented_commands
import launch_stand_in
import numpy as np
import pytest
import torch
from documents import ALL_PAGES, CHECKOUT, DOCUMENTS, NEEDS, anchors, blocks, code_spans, commands, links
from geometry_msgs.msg import Point, PointStamped
from random_network import MINIATURE, random_model
from safetensors.torch import save_file
from training_layouts import make_coco, make_got10k, make_lasot, make_trackingnet, write_video

from dytrack_ros.model import presets, save_weights, weight_files
from dytrack_ros.nodes import faults
from dytrack_ros.policies.calibration import calibration_file

BLOCKS = [block for page in DOCUMENTS for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "bash"]
EXECUTED = sorted({block.page for block in SHELL if block.mark is None})
WORDS_OF_COMMANDS = re.compile(
    r"^\s*(\$ |ros2 |make |pip |tools/|evaluate |train |pack |calibrate |benchmark )", re.MULTILINE
)

SUBSTITUTIONS = {
    "train": ["--steps", "1", "--batch", "2", "--device", "cpu", "--warmup-steps", "1"],
    "evaluate": ["--engine", "torch", "--threads", "1", "--jobs", "1"],
    "calibrate": ["--engine", "torch", "--threads", "1"],
}


def named(block):
    return pytest.param(block, id=block.name)


# Marks


@pytest.mark.parametrize("block", [named(block) for block in BLOCKS])
def test_a_mark_says_what_is_known(block):
    if block.language not in ("bash", "python", "cpp"):
        assert not WORDS_OF_COMMANDS.search(block.text), "commands belong into a block marked bash"
    if block.mark is None:
        return
    kind, text = block.mark
    if kind == "needs":
        assert text in NEEDS
        return
    for reference in text.split(", "):
        file, _, test = reference.partition("::")
        source = (CHECKOUT / file).read_text()
        assert f"def {test or 'test_'}" in source, f"{file} has no test {test}"


def test_every_mark_stands_directly_before_a_block():
    for page in DOCUMENTS:
        marks = len(re.findall(r"<!-- (?:needs|covered by):", page.read_text()))
        assert marks == sum(block.mark is not None for block in blocks(page)), page.name


# Commands, without running them


@pytest.mark.parametrize("block", [named(block) for block in SHELL])
def test_options_names_and_values_exist(block):
    assert block.commands
    for words in block.commands:
        documented_commands.check(words)


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_have_these_options_too(page):
    first_words = {*documented_commands.MODULES, *documented_commands.NODES, "ros2", "make", "tools/ros_env"}
    for span in code_spans(page):
        if span.split()[0] in first_words or span.startswith("benchmarks/"):
            if "..." in span or " " not in span:
                continue
            for words in commands(span):
                documented_commands.check([word for word in words if word != "--"], is_fragment=True)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_parameters_in_the_text_exist(page):
    names = {parameter.name for table in documented_commands.NODES.values() for parameter in table}
    groups = {name.partition(".")[0] for name in names if "." in name}
    for span in code_spans(page):
        if re.fullmatch(r"[a-z_]+\.[a-z_0-9]+", span) and span.partition(".")[0] in groups:
            assert span in names, f"there is no parameter {span}"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("evaluate --data X --exit 7,1", "evaluate has no option --exit"),
        ("train --data X --out Y --steps many", "invalid int"),
        ("train --data X --out Y --step_count 1", "unrecognized"),
        ("calibrate", "required"),
        ("ros2 run dytrack_ros export", "required"),
        ("ros2 run dytrack_ros trackr_node", "no program"),
        ("ros2 launch dytrack_ros tracker.launch.py imag:=/x", "no argument imag"),
        ("ros2 param set /tracker_node budget.mod rate", "no parameter budget.mod"),
        ("ros2 param set /tracker_node budget.mode fast", "must be one of camera"),
        ("ros2 param set /tracker_node budget.milliseconds 80", "is a float"),
        ("ros2 topic pub --once /init vision_msgs/msg/Detection2D '{bbox: {centre: {theta: 0.0}}}'", "no field centre"),
        ("ros2 topic echo /detectoin", "no topic"),
        ("make dmeo", "knows no dmeo"),
        ("tools/ros_env benchmarks/node.py overheat", "invalid choice"),
        ("ros2 run dytrack_ros camera_node --ros-args -p sauce:=x", "no parameter sauce"),
        ("rso2 topic list", "unknown program"),
    ],
)
def test_a_wrong_command_would_be_noticed(command, complaint):
    with pytest.raises(AssertionError, match=complaint):
        for words in commands(command):
            documented_commands.check(words)


def test_the_readme_names_every_launch_argument(monkeypatch):
    readme = (CHECKOUT / "README.md").read_text()
    described = launch_stand_in.description(CHECKOUT / "launch" / "tracker.launch.py", monkeypatch)
    for name in launch_stand_in.arguments(described):
        assert f"`{name}`" in readme or f"{name}:=" in readme, name


def test_the_log_lines_that_are_explained_exist():
    page = (CHECKOUT / "docs" / "troubleshooting.md").read_text()
    kinds = {value for name, value in vars(faults).items() if name.isupper() and isinstance(value, str)}
    starts = {"no image can come on"}  # the incompatible QoS, whose sentence begins otherwise
    explained = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(explained) > 5
    for line in explained:
        assert any(line.startswith(start) for start in kinds | starts), line


# Running them


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The current folder of the commands: the documents' names for data stand for tiny made-up copies."""
    monkeypatch.chdir(tmp_path)
    for folder in ("SEQUENCES", "DEV_SEQUENCES"):
        for number, name in enumerate(("slow", "fast")):
            boxes = [(30 + (4 + 8 * number) * frame, 40, 32, 32) for frame in range(5)]
            write_video(Path(folder, name, "img"), Path(folder, name, "groundtruth.txt"), boxes)
    for folder, make in (("LASOT", make_lasot), ("LaSOTBenchmark", make_lasot), ("GOT10K", make_got10k)):
        make(Path(folder))
    make_trackingnet(Path("TRACKINGNET"))
    make_coco(Path("COCO"))

    miniature = dict.fromkeys(presets.PRESETS, MINIATURE)
    monkeypatch.setattr(presets, "PRESETS", miniature)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    save_weights(shipped / "dytrack_small.safetensors", random_model(MINIATURE))
    monkeypatch.setattr(weight_files, "SHIPPED_FOLDER", shipped)
    save_file(plain_encoder(), "dinov2_vits16.safetensors")
    return tmp_path


def plain_encoder():
    """A ViT of the miniature's size in the layout of timm, MAE and DINOv2."""
    width = MINIATURE.width
    shapes = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    state = {
        "cls_token": torch.randn(1, 1, width),
        "pos_embed": torch.randn(1, 1 + 14 * 14, width),
        "patch_embed.proj.weight": torch.randn(width, 3, 16, 16),
        "patch_embed.proj.bias": torch.randn(width),
    }
    for block in range(MINIATURE.depth):
        for part, (rows, columns) in shapes.items():
            state[f"blocks.{block}.{part}.weight"] = torch.randn(rows * width, columns * width)
            state[f"blocks.{block}.{part}.bias"] = torch.randn(rows * width)
        for part in ("norm1", "norm2"):
            state[f"blocks.{block}.{part}.weight"] = torch.ones(width)
            state[f"blocks.{block}.{part}.bias"] = torch.zeros(width)
    return state


def run(words):
    """One documented command, in this process."""
    program, *arguments = words[3:] if words[:3] == ["ros2", "run", "dytrack_ros"] else words
    assert program in documented_commands.MODULES, f"mark the block: {program} cannot be run here"
    main = importlib.import_module(documented_commands.MODULES[program]).main
    assert main(arguments + SUBSTITUTIONS.get(program, [])) in (0, None), f"{' '.join(words)} failed"


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.name)
def test_documented_commands_run(page, workplace):
    executed = [block for block in SHELL if block.page == page and block.mark is None]
    if not any(words[0] == "pack" for block in executed for words in block.commands):
        run(["pack", "--data", "coco:COCO", "got10k:GOT10K", "--out", "SHARDS", "--threads", "1"])
    for block in executed:
        for words in block.commands:
            run(words)
    promised = {
        "README.md": ["runs/two/dytrack_small.safetensors", "runs/one/dytrack_small.calibration.json"],
        "budget.md": [calibration_file("shipped/dytrack_small.safetensors")],
        "engines.md": ["graphs/graphs.json"],
        "evaluation.md": ["lasot.json", "report.json", "runs/lasot"],
        "training.md": ["SHARDS/pack.json", "runs/stage2/dytrack_small.calibration.json"],
    }
    assert page.name in promised, "say above what the commands of this page make"
    for result in promised[page.name]:
        assert Path(result).exists(), f"{page.name} does not make {result}"


# Code


GIVEN = {
    "image_bgr": np.full((120, 160, 3), 90, np.uint8),
    "next_image_bgr": np.full((120, 160, 3), 90, np.uint8),
    **dict(zip("xywh", (40.0, 40.0, 30.0, 24.0), strict=True)),
}


@pytest.fixture
def execute(workplace, monkeypatch):
    def run_block(block):
        for name, module in launch_stand_in.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        names = {"__name__": "snippet", **GIVEN}
        exec(compile(block.text, block.name, "exec"), names)
        return names

    return run_block


@pytest.mark.parametrize("block", [named(block) for block in BLOCKS if block.language == "python"])
def test_python_runs(block, execute):
    names = execute(block)
    if "result" in names:
        assert len(names["result"].box) == 4
    if "tracker" in names:
        names["tracker"].initialize(GIVEN["image_bgr"], tuple(GIVEN[name] for name in "xywh"))
        for _ in range(11):
            names["tracker"].track(GIVEN["next_image_bgr"])
    if "generate_launch_description" in names:
        check_launched(names["generate_launch_description"]())
    if "turn_towards" in names:
        to_the_right = names["turn_towards"](PointStamped(point=Point(x=0.5)))
        assert to_the_right.angular.z < 0


def check_launched(description):
    for node in description.parts[0]:
        assert node.package == "dytrack_ros"
        topics = documented_commands.topics(node.executable)
        assert {source for source, _ in node.remappings} <= topics
        for name, value in node.parameters[0].items():
            documented_commands.check_parameter(node.executable, name, value)


RCLCPP = """
#pragma once
#include <memory>
#include <string>
namespace rclcpp {
template <class Message> struct Publisher {
  using SharedPtr = std::shared_ptr<Publisher>;
  void publish(const Message &) {}
};
struct Node {
  explicit Node(const std::string &) {}
  template <class Message> typename Publisher<Message>::SharedPtr create_publisher(const std::string &, size_t) { return {}; }
};
}
"""


@pytest.mark.parametrize("block", [named(block) for block in BLOCKS if block.language == "cpp"])
def test_cpp_compiles(block, tmp_path):
    """Against the real messages; rclcpp, which is not on PyPI, is a stand-in with what the snippet uses."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler (g++)")
    (tmp_path / "rclcpp").mkdir()
    (tmp_path / "rclcpp" / "rclcpp.hpp").write_text(RCLCPP)
    (tmp_path / "snippet.cpp").write_text(block.text)
    folders = [path for prefix in prefixes() for path in (prefix / "include", *(prefix / "include").glob("*"))]
    includes = [part for path in folders if path.is_dir() for part in ("-isystem", str(path))]
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Werror", "-I", str(tmp_path), *includes]
    done = subprocess.run([*command, tmp_path / "snippet.cpp"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def prefixes():
    return [Path(prefix) for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]


# Links

FILE = re.compile(r"\b(?:docs|test|benchmarks|config|launch|msg|tools)/[\w./-]+\.(?:py|md|yaml|xml|json|svg|msg|c)\b")


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(file), f"{link}: there are {sorted(anchors(file))}"


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    for span in code_spans(page):
        for path in re.findall(
            r"\b(?:docs|test|benchmarks|config|launch|msg|tools|dytrack_ros)/[\w./-]+\.(?:py|md|yaml|xml|json|svg|msg|c)\b",
            span,
        ):
            assert (CHECKOUT / path).exists(), path
        if re.fullmatch(r"(model|engines|budget|tracking|training|evaluation|nodes)/\w+\.py", span):
            assert (CHECKOUT / "dytrack_ros" / span).exists(), span


def test_the_readme_leads_to_every_page():
    linked = {link.partition("#")[0] for link in links(CHECKOUT / "README.md")}
    assert {f"docs/{page.name}" for page in DOCUMENTS[1:]} <= linked
