"""Training by several processes, one a GPU, as ``torchrun`` starts them; a single process is the special case."""

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
    """This process, ``rank`` of ``size``, of which ``local_size`` run on this machine, this one on ``device``.

    All of them must call the methods that exchange something, in the same order.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def wrap(self, module: nn.Module, part_unused: bool = False) -> nn.Module:
        """``module``, whose gradients are from now on averaged over the processes, starting from the weights of rank 0.

        What has ``requires_grad`` off now is left alone. ``part_unused``: some of the rest may have no gradient in a step.
        """
        return DistributedDataParallel(module, find_unused_parameters=part_unused) if self.size > 1 else module

    def with_common_norms(self, model: nn.Module) -> nn.Module:
        """``model`` with batch norms that see the batch of all processes; PyTorch has these for CUDA only, so that on CPUs
        each process normalises by its own part of the batch and rank 0's running statistics are kept."""
        if self.size == 1 or torch.device(self.device).type != "cuda":
            return model
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)

    def of_first(self, value: float) -> float:
        """Rank 0's value."""
        shared = torch.tensor(value, dtype=torch.float64)
        if self.size > 1:
            distributed.broadcast(shared, src=0)
        return shared.item()

    def total(self, values: Tensor) -> Tensor:
        """The sums over all processes."""
        shared = values.detach().cpu().double()
        if self.size > 1:
            distributed.all_reduce(shared)
        return shared

    def mean(self, values: Tensor) -> Tensor:
        """The means over the processes, of what is not NaN."""
        known = ~values.isnan()
        sums = self.total(torch.stack([torch.where(known, values, 0), known.to(values.dtype)]))
        return sums[0] / sums[1]


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """The ranks that ``torchrun`` has started (a single one without it), of which each takes the GPU of its local number
    if ``device`` is ``cuda``.

    Raises ValueError if there are fewer GPUs than processes, or if one GPU is named for several of them.
    """
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if size == 1:
        yield Ranks(device=device)
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        if device != "cuda":
            raise ValueError(f"--device {device} names one GPU for {size} processes: give cuda, and each takes its own")
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"process {local} of this machine finds {torch.cuda.device_count()} GPUs: start as many as there are"
            )
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    # What is exchanged between the steps lies on the CPU, so that it need not wait for the GPU.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield Ranks(distributed.get_rank(), size, int(os.environ.get("LOCAL_WORLD_SIZE", size)), device)
    finally:
        distributed.destroy_process_group()
