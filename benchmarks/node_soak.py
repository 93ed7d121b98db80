"""The soak of benchmarks/node.py: the installed node tracks for a long time while its parameters change."""

from __future__ import annotations

import argparse
import math
import time
from itertools import count

import numpy as np
from node_graph import Graph, Heard, resident_mb
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from tqdm import tqdm

PARAMETER_HZ = 20.0
SAMPLE_S = 1.0
WAVE_S = 5.0  # so long until a parameter has gone up and down again: twice in a window
WINDOWS = 180  # of the series that is kept: ten seconds each in half an hour
LONGEST_BETWEEN_INITS_S = 10.0
# A service that is alive answers within this, be the machine ever so busy.
ANSWER_PATIENCE_S = 10.0


def soak(args: argparse.Namespace) -> dict:
    """A camera, the node, and this process, which sets parameters and notes memory, latency and age."""
    (width, height), rate = (args.sizes or [(1280, 720)])[0], args.rate or 30.0
    seconds, warm_up_s = 60 * args.minutes, 60 * args.warm_up
    init_every = max(1, round(rate * min(LONGEST_BETWEEN_INITS_S, seconds / 4)))
    memory: list[tuple[float, dict[str, float]]] = []
    with Graph() as graph:
        camera = graph.start("camera", width=width, height=height, rate_hz=rate, init_every=init_every)
        tracker = graph.start_tracker("tracker_node", model=args.model, engine=args.engine, threads=args.threads)
        graph.wait(lambda: any(heard.exit_index for heard in graph.statuses), "tracked image")
        graph.statuses.clear()
        setter = ParameterSetter(graph)
        started_s = time.monotonic()
        with tqdm(total=round(seconds), unit="s", desc="soak") as bar:
            while (at_s := time.monotonic() - started_s) < seconds:
                memory.append((at_s, resident_mb(tracker.pid)))
                graph.listen(min(SAMPLE_S, seconds - at_s))
                if tracker.exit_code is not None:
                    raise RuntimeError(f"the node ended after {at_s:.0f} s:\n{tracker.output}")
                bar.update(round(time.monotonic() - started_s) - bar.n)
        parameters = setter.finish()
        sent = graph.last_json(camera)
        said = [line for line in tracker.output.splitlines() if "[WARN]" in line or "[ERROR]" in line]
    heard = graph.statuses
    series = windows(memory, heard, started_s, seconds)
    return {
        "size": [width, height],
        "rate_hz": rate,
        "minutes": args.minutes,
        "warm_up_minutes": args.warm_up,
        "images": sent["images"],
        "inits": sent["inits"],
        "targets": len({each.target_id for each in heard if each.target_id}),
        "frames": len(heard),
        "frames_tracked": sum(each.exit_index > 0 for each in heard),
        "frames_dropped": heard[-1].frames_dropped,
        "parameters": parameters,
        "warnings": said[:10],
        "verdict": verdict(series, warm_up_s),
        "series": series,
    }


class ParameterSetter:
    """Sets one parameter of the node PARAMETER_HZ times a second, as a slider in rqt does; one call a second asks for
    what must be refused."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._client = graph.node.create_client(SetParameters, "tracker_node/set_parameters")
        graph.wait(self._client.service_is_ready, "parameter service")
        self._numbers = count()
        self._waiting: dict[int, float] = {}
        self._answers_ms: list[float] = []
        self._sent = self._wrong = 0
        self._timer = graph.node.create_timer(1 / PARAMETER_HZ, self._set_next)

    def _set_next(self) -> None:
        number = next(self._numbers)
        parameter, allowed = _change(number)
        request = SetParameters.Request(parameters=[parameter.to_parameter_msg()])
        self._waiting[number] = time.monotonic()
        self._sent += 1

        def answered(future) -> None:
            self._answers_ms.append(1e3 * (time.monotonic() - self._waiting.pop(number)))
            (result,) = future.result().results
            self._wrong += result.successful != allowed

        self._client.call_async(request).add_done_callback(answered)

    def finish(self) -> dict:
        """Sets no more, and waits for the answers that are still to come."""
        self._graph.node.destroy_timer(self._timer)
        ending_s = time.monotonic() + ANSWER_PATIENCE_S
        while self._waiting and time.monotonic() < ending_s:
            self._graph.listen(0.05)
        return {
            "calls": self._sent,
            "unanswered": len(self._waiting),
            "answered_wrongly": self._wrong,
            "answer_ms": {
                "p50": float(np.quantile(self._answers_ms, 0.5)),
                "p99": float(np.quantile(self._answers_ms, 0.99)),
                "largest": max(self._answers_ms),
            },
        }


def _change(number: int) -> tuple[Parameter, bool]:
    """What the call of this number sets, and whether it is allowed."""
    wave = 0.5 + 0.5 * math.sin(2 * math.pi * number / (WAVE_S * PARAMETER_HZ))
    if number % PARAMETER_HZ == PARAMETER_HZ - 1:
        return Parameter("exit.tau_1", value=1.5), False
    changes = {
        "exit.tau_1": wave,
        "exit.tau_2": 1 - wave,
        "budget.headroom": 0.5 + 0.4 * wave,
        "budget.deadline_sigmas": 2 + 2 * wave,
        "lost.score": 0.1 + 0.1 * wave,
        "lost.uncertain_score": 0.3 + 0.2 * wave,
    }
    name = list(changes)[number % len(changes)]
    return Parameter(name, value=changes[name]), True


# --- figures ----------------------------------------------------------------------------------------------------------


def windows(memory, heard: list[Heard], started_s: float, seconds: float) -> dict[str, list[float]]:
    """Medians (and 95th percentiles) over equal stretches of time, those left out in which nothing came."""
    length_s = max(seconds / WINDOWS, SAMPLE_S)
    series: dict[str, list[float]] = {}
    for number in range(int(seconds / length_s)):
        start_s, end_s = number * length_s, (number + 1) * length_s
        resident = [values for at_s, values in memory if start_s <= at_s < end_s]
        frames = [each for each in heard if start_s <= each.heard_s - started_s < end_s]
        tracked = [each for each in frames if each.exit_index]
        if not resident or not tracked:
            continue
        row = {
            "seconds": (start_s + end_s) / 2,
            "frames": len(frames),
            "exit_mean": float(np.mean([each.exit_index for each in tracked])),
            **{f"resident_{kind}_mb": _median(values[kind] for values in resident) for kind in resident[0]},
            **_spread("latency", [each.latency_ms for each in tracked]),
            **_spread("age", [each.image_age_ms for each in tracked]),
        }
        for name, value in row.items():
            series.setdefault(name, []).append(value)
    return series


def _median(values) -> float:
    return float(np.median(list(values)))


def _spread(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name}_{part}_ms": float(np.quantile(values, q)) for part, q in (("p50", 0.5), ("p95", 0.95))}


def verdict(series: dict[str, list[float]], warm_up_s: float) -> dict:
    """After the warm-up: how far resident memory lies apart at most, and how much each series grows from the first to
    the last moment by its robust slope, both relative to the median."""
    kept = np.array(series["seconds"]) >= warm_up_s
    seconds = np.array(series["seconds"])[kept]

    def values(name: str) -> np.ndarray:
        return np.array(series[name])[kept]

    def growth(name: str) -> float:
        return robust_slope(seconds, values(name)) * float(seconds[-1] - seconds[0]) / float(np.median(values(name)))

    resident = values("resident_all_mb")
    return {
        "resident_mb": float(np.median(resident)),
        "resident_spread": float(np.ptp(resident) / np.median(resident)),
        "growth": {name.rsplit("_", 1)[0]: growth(name) for name in series if name.endswith(("_mb", "_ms", "_mean"))},
    }


def robust_slope(x: np.ndarray, y: np.ndarray) -> float:
    """The median slope of all pairs of points (Theil and Sen): a few wild points do not move it.

    Raises ValueError for less than two points.
    """
    if len(x) < 2:
        raise ValueError(f"a slope needs two points at least, not {len(x)}: soak for longer")
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))
