"""Steps recorded once as CUDA graphs: a replay launches all their kernels at once, where eager PyTorch, on a network this
small, spends most of its time launching them one by one."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UPS = 3


def record(steps: dict[str, Callable[[], None]], device: torch.device) -> dict[str, Callable[[], None]]:
    """Each step as the replay of its graph; they must work in place, on memory that stays where it is.

    Recording runs the steps, in their order. The graphs share the memory of what is only needed within a step. Raises
    RuntimeError where a step cannot be recorded.
    """
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their kernels and take their memory before the recording
            for _ in range(WARM_UPS):
                for step in steps.values():
                    step()
        torch.cuda.current_stream().wait_stream(stream)
        pool = torch.cuda.graph_pool_handle()
        return {name: _recorded(step, pool) for name, step in steps.items()}


def _recorded(step: Callable[[], None], pool: tuple[int, int]) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    # Only this thread must keep to what can be recorded: others may use the GPU meanwhile.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        step()
    return graph.replay
