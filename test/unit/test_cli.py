"""The command `dytrack`: as typed, through a shell, and its subcommands."""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dytrack_ros
from dytrack_ros.cli import main as cli
from dytrack_ros.cli.types import at_least_one, below_one, positive, unit_interval

# Where `ros2 run` finds programs of an installed workspace; pip's are beside the interpreter.
PROGRAM_FOLDERS = (Path(dytrack_ros.__file__).parents[3] / "dytrack_ros", Path(sys.executable).parent)


def shell(line):
    path = os.pathsep.join([*map(str, PROGRAM_FOLDERS), os.environ["PATH"]])
    return subprocess.run(["bash", "-c", line], env={**os.environ, "PATH": path}, capture_output=True, text=True)


def test_help_lists_every_subcommand_without_importing_torch():
    done = shell("dytrack --help && dytrack --version")
    assert done.returncode == 0, done.stderr
    for name, subcommand in cli.SUBCOMMANDS.items():
        assert f"\n  {name} " in done.stdout and subcommand.summary in done.stdout
    assert done.stdout.endswith(f"dytrack {dytrack_ros.__version__}\n")
    code = "import sys; from dytrack_ros.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_exit_status_and_reason_reach_the_shell(tmp_path):
    done = shell(f"dytrack narrow --out {tmp_path}/x.txt --search-size 64")
    assert done.returncode == 2 and done.stderr.startswith("dytrack narrow: ")
    assert shell("dytrack").returncode == 2


@pytest.mark.parametrize("name", cli.SUBCOMMANDS)
def test_every_subcommand_has_help(name, capsys):
    if cli.SUBCOMMANDS[name].needs_ros and importlib.util.find_spec("rclpy") is None:
        assert cli.main([name, "--help"]) == 2 and "ros2 run" in capsys.readouterr().err
        return
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0 and f"usage: dytrack {name} " in capsys.readouterr().out


def test_demo_without_ros_says_what_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["demo"]) == 2
    assert "rclpy" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["import", "main"])
def test_an_interrupted_command_prints_no_traceback(tmp_path, place):
    """As a native module does, the import turns KeyboardInterrupt into an error of its own."""
    interrupt = "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)"
    in_import = f"try:\n    {interrupt}\nexcept KeyboardInterrupt:\n    raise ImportError('half imported')\n"
    body = in_import if place == "import" else f"def main(argv): {interrupt}\n"
    (tmp_path / "slow.py").write_text(f"import os, signal, time\n{body}")
    code = (  # a shell's background job, such as this test in one, inherits an ignored SIGINT
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"import sys; sys.path.append({str(tmp_path)!r})\nfrom dytrack_ros.cli import main as cli\n"
        "cli.SUBCOMMANDS['pack'] = cli.Subcommand('slow', '')\nsys.exit(cli.main(['pack']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("typed", "advice"), [("evalute", "`evaluate`"), ("quantize", "`quantise`"), ("xyz", "train, evaluate")]
)
def test_an_unknown_name_gets_the_nearest(typed, advice, capsys):
    assert cli.main([typed]) == 2
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize(
    ("convert", "good", "bad"),
    [
        (positive, "0.5", ["0", "-1", "nan", "inf"]),
        (at_least_one, "1", ["0", "-2"]),
        (unit_interval, "1", ["-0.1", "1.1", "nan"]),
        (below_one, "0", ["1", "-0.1"]),
    ],
)
def test_argument_types(convert, good, bad):
    assert convert(good) == float(good)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError):
            convert(text)
