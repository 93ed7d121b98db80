"""Training by two processes on the CPU: equal weights, those of a single process on the same batches, resumable."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from random_network import MINIATURE
from training_layouts import make_lasot, make_shard
from two_ranks import BATCH, CASES, STEPS, trainer_on, weights_and_gradients

from dytrack_ros.model import load_weights
from dytrack_ros.training.augmentation import CropBatch
from dytrack_ros.training.distributed import Ranks, joined_ranks

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    return make_shard(tmp_path_factory.mktemp("shards") / "train-000.tar")


@pytest.fixture(scope="module")
def out(shard, tmp_path_factory):
    """What two processes, started once for all tests, have left."""
    folder = tmp_path_factory.mktemp("ranks")
    lasot = make_lasot(tmp_path_factory.mktemp("lasot"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {
        "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",  # wherever the machine's own name leads
    }
    command = [*launcher, str(TESTS / "two_ranks.py"), str(shard), str(lasot), str(folder)]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    launched = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **streams)
    try:
        _, said = launched.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launched.pid, signal.SIGKILL)  # the processes outlive a launcher that this test's end has killed
    assert launched.returncode == 0, said[-4000:]
    (folder / "stderr").write_text(said)
    return folder


class BothParts:
    """The crops that two processes would have seen, as one batch."""

    def __init__(self, sampler, augmentation):
        self.sampler, self.augmentation, self.bank = sampler, augmentation, augmentation.bank
        self.config = augmentation.config

    def __call__(self, pairs, step, part):
        parts = [self.augmentation(self.sampler.batch(step, BATCH, rank, 2), step, rank) for rank in range(2)]
        columns = zip(*(vars(crops).values() for crops in parts), strict=True)
        return CropBatch(*(torch.cat(column) for column in columns))


@pytest.mark.parametrize("case", [*CASES, "resumed"])
def test_both_processes_end_with_the_same_weights(out, case):
    (step, first), (other_step, second) = (torch.load(out / f"{case}_{rank}.pt") for rank in range(2))
    assert step == other_step > 0
    for name, (weights, _) in first.items():
        assert torch.equal(weights, second[name][0]), name


def test_exits_that_rest_are_left_alone(out):
    """A gradient of zero would let Adam and the weight decay move them."""
    _, last_step = torch.load(out / "one_by_one_0.pt")
    resting = [
        gradient for name, (_, gradient) in last_step.items() if name.startswith(("model.heads.0", "model.heads.1"))
    ]
    assert resting and all(gradient is None for gradient in resting)
    assert last_step["model.heads.2.top_left.0.dense.conv.weight"][1] is not None


def test_they_learn_what_a_single_process_learns_on_the_same_batches(out, shard, tmp_path):
    single = trainer_on(shard, tmp_path, Ranks(), fused=True)
    single.augmentation = BothParts(single.sampler, single.augmentation)
    single.run(log_every=1)
    _, together = torch.load(out / "fused_0.pt")
    moved = 0
    for name, (weights, gradient) in weights_and_gradients(single).items():
        other_weights, other_gradient = together[name]
        torch.testing.assert_close(other_gradient, gradient, rtol=1e-3, atol=1e-5, msg=name)
        real = gradient.abs() > 1e-4  # Adam makes a full step of what is but rounding, such as a softmax's bias
        torch.testing.assert_close(other_weights[real], weights[real], rtol=1e-4, atol=1e-4, msg=name)
        moved += int(real.sum())
    assert moved > 1000
    rows, alone = (list(csv.DictReader((folder / "curves.csv").open())) for folder in (out / "fused", tmp_path))
    assert [row["step"] for row in rows] == [str(step + 1) for step in range(STEPS)]
    for row, other in zip(rows, alone, strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3), "the mean of both processes' losses"


def test_a_resumed_run_ends_where_an_unbroken_one_does(out):
    step, resumed = torch.load(out / "resumed_0.pt")
    _, unbroken = torch.load(out / "fused_0.pt")
    assert step == STEPS
    for name, (weights, _) in unbroken.items():
        torch.testing.assert_close(resumed[name][0], weights, msg=name)


def test_the_command_streams_to_both_and_one_writes(out):
    card = json.loads((out / "command" / "dytrack_tiny.json").read_text())
    assert card["processes"] == 2 and card["pairs"] == 8 and card["data"] == ["lasot"]
    assert load_weights(out / "command" / "dytrack_tiny.safetensors").config == MINIATURE
    said = (out / "stderr").read_text()
    assert "batch 3 must be a multiple of the 2 processes" in said


def test_a_gpu_named_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="give cuda"), joined_ranks("cuda:0"):
        pass
