"""Training by several processes, one for each GPU, started by ``torchrun``; a single process is the special case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """This process: number ``rank`` of ``size``, of which ``local_size`` run on this machine; it trains on ``device``.

    All processes must call the methods that communicate, in the same order.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wrap(self, module: nn.Module, part_unused: bool = False) -> nn.Module:
        """Averages the gradients of ``module`` over the processes from now on, starting from the weights of rank 0.

        Parameters without ``requires_grad`` are left out. ``part_unused``: some others may have no gradient in a step.
        Batch norms see the batch of all processes on CUDA; on CPUs, where PyTorch cannot do that, each its part.
        """
        if self.size == 1:
            return module
        if self.device.startswith("cuda"):
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return DistributedDataParallel(module, find_unused_parameters=part_unused)

    def of_first(self, value: float) -> float:
        """Returns rank 0's value."""
        shared = torch.tensor(value, dtype=torch.float64)
        if self.size > 1:
            distributed.broadcast(shared, src=0)
        return shared.item()

    def total(self, values: Tensor) -> Tensor:
        """Sums over all processes."""
        shared = values.detach().cpu().double()
        if self.size > 1:
            distributed.all_reduce(shared)
        return shared

    def mean(self, values: Tensor) -> Tensor:
        """Means over the processes of the values that are not NaN."""
        known = ~values.isnan()
        sums = self.total(torch.stack([torch.where(known, values, 0), known.to(values.dtype)]))
        return sums[0] / sums[1]


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Joins the processes that ``torchrun`` has started; without it there is a single one.

    With ``device`` ``cuda`` each process takes the GPU of its local number. Raises ValueError if there are fewer GPUs
    than processes, or if ``device`` names one GPU for several of them.
    """
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if size == 1:
        yield Ranks(device=device)
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        if device != "cuda":
            raise ValueError(f"--device {device} names one GPU for {size} processes: give cuda, and each takes its own")
        if local >= (found := torch.cuda.device_count()):
            raise ValueError(f"process {local} of this machine finds {found} GPUs: start as many as there are")
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    # Values exchanged between the steps lie on the CPU, so that they do not wait for the GPU.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield Ranks(distributed.get_rank(), size, int(os.environ.get("LOCAL_WORLD_SIZE", size)), device)
    finally:
        distributed.destroy_process_group()
