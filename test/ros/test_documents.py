"""Every command and every piece of code in the documentation runs here as typed, or says what it needs.

Commands run in bash, in a folder with made-up data under the names that the documents use (SEQUENCES, SHARDS, LASOT).
The `dytrack` that bash finds hands its words to this process, where networks are miniatures, `train` takes one step of
two pairs, and `evaluate` and `calibrate` compute with PyTorch on one thread.
"""

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
import reference
from documented_commands import check, typed
from documents import CHECKOUT, NEEDS, PAGES, blocks, code_spans
from random_network import MINIATURE, plain_vit, random_model
from safetensors.torch import save_file
from std_msgs.msg import Header
from training_layouts import make_coco, make_got10k, make_lasot, make_trackingnet, write_video

from dytrack_ros.cli.main import main as dytrack
from dytrack_ros.model import presets, save_weights, weight_files
from dytrack_ros.nodes import faults
from dytrack_ros.nodes.messages import box_of

BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "bash"]
EXECUTED = sorted({block.page for block in SHELL if not block.mark})
SUBSTITUTIONS = {
    "train": ["--steps", "1", "--batch", "2", "--device", "cpu", "--warmup-steps", "1"],
    "evaluate": ["--engine", "torch", "--threads", "1"],
    "calibrate": ["--engine", "torch", "--threads", "1"],
}
PROMISED = {
    "budget.md": ["shipped/dytrack_small.calibration.json"],
    "engines.md": ["graphs/graphs.json"],
    "evaluation.md": ["lasot.json", "report.json", "report/SEQUENCES_standard_offline_pareto.png"],
    "training.md": ["SHARDS/pack.json", "runs/stage2/dytrack_small.calibration.json"],
}


def cases(chosen):
    return [pytest.param(block, id=block.name) for block in chosen]


@pytest.mark.parametrize("block", cases(block for block in BLOCKS if block.mark))
def test_a_mark_says_what_is_known(block):
    if block.mark == "needs":
        assert block.reason in NEEDS
    else:
        assert all((CHECKOUT / file).exists() for file in block.reason.split(", "))


# Names: of programs, options, parameters, topics, files


@pytest.mark.parametrize("block", cases(SHELL))
def test_commands_can_be_what_they_say(block, tmp_path):
    calls = typed(block.text, tmp_path)
    assert calls or block.text.startswith("export ")
    for words in calls:
        check(words)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("dytrack evaluate --sequences X --exit 7,1", "has no option --exit"),
        ("dytrack train --data X --out Y --steps many", "invalid int"),
        ("dytrack calibrate", "required"),
        ("dytrack exprot --out x", "has no command"),
        ("export --model dytrack_small --out graphs", "invalid option"),
        ("ros2 run dytrack_ros trackr_node", "no program"),
        ("ros2 launch dytrack_ros tracker.launch.py imag:=/x", "no argument imag"),
        ("ros2 param set /tracker_node budget.mod rate", "no parameter budget.mod"),
        ("ros2 param set /tracker_node budget.mode fast", "must be one of camera"),
        ("ros2 topic pub --once /init vision_msgs/msg/Detection2D '{bbox: {centre: {theta: 0.0}}}'", "no field centre"),
        ("ros2 topic echo /detectoin", "no topic"),
        ("make dmeo", "knows no dmeo"),
        ("tools/ros_env benchmarks/node.py overheat", "invalid choice"),
        ("rso2 topic list", "not found"),
    ],
)
def test_a_wrong_command_would_be_noticed(command, complaint, tmp_path):
    with pytest.raises(AssertionError, match=complaint):
        for words in typed(command, tmp_path):
            check(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_the_text_exist(page):
    parameters = {parameter.name for table in reference.NODES.values() for parameter in table}
    groups = {name.partition(".")[0] for name in parameters if "." in name}
    for span in code_spans(page):
        for path in re.findall(
            r"\b(?:docs|test|benchmarks|research|config|msg|tools|dytrack_ros)/[\w./-]+\.[a-z]+\b", span
        ):
            assert (CHECKOUT / path).exists(), path
        if re.fullmatch(r"(model|engines|policies|tracking|training|evaluation|nodes)/\w+\.py", span):
            assert (CHECKOUT / "dytrack_ros" / span).exists(), span
        if re.fullmatch(r"[a-z_]+\.[a-z_0-9]+", span) and span.partition(".")[0] in groups:
            assert span in parameters, f"there is no parameter {span}"
        if found := re.match(r"dytrack (\w+) (--.+)", span):
            module = documented_commands.SUBCOMMANDS[found[1]].module
            documented_commands.check_options(reference.parser_of(module), found[1], found[2].split())


def test_explained_log_lines_exist():
    page = (CHECKOUT / "docs" / "how-to" / "troubleshooting.md").read_text()
    kinds = {value for name, value in vars(faults).items() if name.isupper() and isinstance(value, str)}
    explained = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(explained) > 5
    for line in explained:
        assert any(line.startswith(start) for start in kinds | {"no image can come on"}), line


@pytest.mark.parametrize("write", [reference.parameters, reference.messages, reference.commands])
def test_the_reference_is_up_to_date(write):
    assert (CHECKOUT / "docs" / "reference" / f"{write.__name__}.md").read_text() == write(), "run make reference"


def test_the_reference_of_topics_is_up_to_date(tiny_weights):
    assert reference.GENERATED_TOPICS == reference.topics(str(tiny_weights)), "run make reference"


# Running


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
    monkeypatch.setattr(presets, "PRESETS", dict.fromkeys(presets.PRESETS, MINIATURE))
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    save_weights(shipped / "dytrack_small.safetensors", random_model(MINIATURE))
    monkeypatch.setattr(weight_files, "SHIPPED_FOLDER", shipped)
    save_file(plain_vit(MINIATURE.width, MINIATURE.depth), "dinov2_vits16.safetensors")
    return tmp_path


HAND_OVER = """#!/bin/bash
printf '%s\\0' "$@" >words
read -r status <status
exit "$status"
"""


def run_in_bash(text):
    """Type a piece of shell into bash, whose `dytrack` hands its words over to this process."""
    program = Path("bin/dytrack")
    program.parent.mkdir(exist_ok=True)
    program.write_text(HAND_OVER)
    program.chmod(0o755)
    for pipe in ("words", "status"):
        if not Path(pipe).exists():
            os.mkfifo(pipe)
    environment = {"PATH": str(program.parent.absolute())}
    with subprocess.Popen(["/bin/bash", "-euc", f"{text}\nprintf '' >words"], env=environment) as shell:
        while words := Path("words").read_text().split("\0")[:-1]:
            status = dytrack(words + SUBSTITUTIONS.get(words[0], []))
            Path("status").write_text(f"{status or 0}\n")
            assert not status, f"{' '.join(words)} failed"
    assert shell.returncode == 0


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.name)
def test_commands_run(page, workplace):
    executed = [block for block in SHELL if block.page == page and not block.mark]
    if "dytrack pack" not in executed[0].text:
        run_in_bash("dytrack pack --data coco:COCO got10k:GOT10K --out SHARDS --threads 1")
    for block in executed:
        run_in_bash(block.text)
    assert page.name in PROMISED, "say above what the commands of this page make"
    for result in PROMISED[page.name]:
        assert Path(result).exists(), f"{page.name} does not make {result}"


def test_the_installed_command_is_found_by_a_shell():
    done = subprocess.run(
        ["/bin/bash", "-c", "dytrack --help"], capture_output=True, text=True, env=installed_programs()
    )
    assert done.returncode == 0, done.stderr
    assert "calibrate" in done.stdout


def installed_programs():
    path = os.pathsep.join([*(str(prefix / "lib" / "dytrack_ros") for prefix in prefixes()), os.environ["PATH"]])
    return os.environ | {"PATH": path}


def prefixes():
    return [Path(prefix) for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]


# Code

GIVEN = {
    "image_bgr": np.full((120, 160, 3), 90, np.uint8),
    "next_image_bgr": np.full((120, 160, 3), 90, np.uint8),
    **dict(zip("xywh", (40.0, 40.0, 30.0, 24.0), strict=True)),
}


@pytest.mark.parametrize("block", cases(block for block in BLOCKS if block.language == "python"))
def test_python_runs(block, workplace, monkeypatch):
    for name, module in launch_stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    names = {"__name__": "snippet", **GIVEN}
    exec(compile(block.text, block.name, "exec"), names)
    if "tracker" in names:
        names["tracker"].initialize(GIVEN["image_bgr"], tuple(GIVEN[name] for name in "xywh"))
        for _ in range(11):
            assert len(names["tracker"].track(GIVEN["next_image_bgr"]).box) == 4
    if "init_of" in names:
        assert box_of(names["init_of"](Header(), 10.0, 20.0, 30.0, 40.0)) == (10.0, 20.0, 30.0, 40.0)


@pytest.mark.parametrize("block", cases(block for block in BLOCKS if block.language == "cpp"))
def test_cpp_compiles(block, tmp_path):
    """Against the real messages."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler (g++)")
    (tmp_path / "snippet.cpp").write_text(block.text)
    folders = [path for prefix in prefixes() for path in (prefix / "include", *(prefix / "include").glob("*"))]
    includes = [part for path in folders if path.is_dir() for part in ("-isystem", str(path))]
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Werror", *includes]
    done = subprocess.run([*command, tmp_path / "snippet.cpp"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
