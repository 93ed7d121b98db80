#!/usr/bin/env python3
"""Measure tracker_node on real processes and real DDS: overhead, delivery, start-up, memory over time.

    benchmarks/node.py overhead     # latency of the node apart from its engine
    benchmarks/node.py overlay      # latency with and without a subscriber of overlay
    benchmarks/node.py delivery     # images that arrive, with and without the Fast DDS profile
    benchmarks/node.py startup      # seconds from the start of the process to the first tracked image
    benchmarks/node.py cpu --sequences FOLDER ...   # CPU time at the default thresholds and at full depth
    benchmarks/node.py soak         # memory, latency and age over 30 minutes of tracking and setting parameters
    benchmarks/node.py table        # the tables of docs/node.md from the results
    benchmarks/node.py draw         # its figure (needs matplotlib)

Runs in the environment of the built package: ``tools/ros_env benchmarks/node.py ...`` or a sourced workspace. Results
are merged into one JSON file; each part notes the machine and how busy others kept it meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # tools/ros_env sets PYTHONSAFEPATH

from node_graph import PATIENCE_S, Graph, Heard, MachineUse, cpu_seconds, environment  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from tqdm import tqdm  # noqa: E402
from vision_msgs.msg import Detection2D  # noqa: E402

from dytrack_ros.benchmark.machine import machine_facts  # noqa: E402
from dytrack_ros.data.registry import load_dataset  # noqa: E402
from dytrack_ros.engines.registry import choose_engine  # noqa: E402
from dytrack_ros.evaluation.report import rounded  # noqa: E402
from dytrack_ros.model.weight_files import default_model  # noqa: E402
from dytrack_ros.nodes.demo.node_process import FAST_DDS_VARIABLES  # noqa: E402
from dytrack_ros.nodes.images import fill_image  # noqa: E402
from dytrack_ros.nodes.messages import detection_message  # noqa: E402

STAND_IN = "stand-in"  # of node_programs.py: an engine that answers at once
RESULTS = HERE / "results" / "node.json"
FIGURES = HERE.parent / "docs" / "images"
SETTLING_FRAMES = 10  # left out after an init or a change of size
TURN_S, CHANGING_S = 2.0, 0.5  # overlay: seconds with a subscriber, and seconds left out after a change


def size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("part", choices=(*PARTS, "table", "draw"))
    p.add_argument("--model", default=default_model(), help="shipped name or path of weights (default: %(default)s)")
    p.add_argument("--engine", default="auto")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--sizes", type=size, nargs="+", help="WIDTHxHEIGHT; by default those of the requirement")
    p.add_argument("--encodings", nargs="+", default=["bgr8", "rgb8"], help="overhead")
    p.add_argument("--exit", type=int, default=1, help="overhead, overlay: the exit that every frame takes")
    p.add_argument("--rate", type=float, help="images a second; overhead 15, overlay and cpu 10, delivery and soak 30")
    p.add_argument("--sequences", type=Path, nargs="+", default=[], help="cpu: folders of sequences with ground truth")
    p.add_argument(
        "--frames",
        type=int,
        help="overhead, overlay, delivery: images of each kind and round; by default 200, 200 and 300; cpu: of each "
        "sequence, by default 120",
    )
    p.add_argument("--rounds", type=int, default=3, help="overhead, delivery, startup: repetitions, in turns")
    p.add_argument("--unlimited", action="store_true", help="cpu: without a budget, for a machine that is too busy")
    p.add_argument("--minutes", type=float, default=30.0, help="soak")
    p.add_argument("--warm-up", type=float, default=2.0, help="soak: the first minutes, left out of the verdict")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def quantiles(values) -> dict[str, float]:
    return {"p50": float(np.quantile(values, 0.5)), "p95": float(np.quantile(values, 0.95))}


# --- overhead ---------------------------------------------------------------------------------------------------------


def overhead(args: argparse.Namespace) -> dict:
    """Measure the node with its engine and with a stand-in that answers at once; sizes and encodings take turns."""
    sizes, rate, frames = args.sizes or [(1280, 720), (1920, 1080)], args.rate or 15.0, args.frames or 200
    kinds = [(pixels, encoding) for pixels in sizes for encoding in args.encodings]
    runs = []
    for model in dict.fromkeys((args.model, STAND_IN)):
        heard: dict[tuple, list[Heard]] = defaultdict(list)
        with Graph() as graph, tqdm(total=args.rounds * len(kinds), unit="run", desc=model) as bar:
            _start_metered(graph, args, model)
            for _ in range(args.rounds):
                for kind in kinds:
                    bar.set_postfix_str(f"{_by(kind[0])} {kind[1]}")
                    heard[kind] += _tracked(graph, *kind, rate, frames)
                    bar.update()
        runs += [_overhead_entry(model == STAND_IN, *kind, heard[kind]) for kind in kinds]
    return {"exit": args.exit, "rate_hz": rate, "runs": runs}


def _start_metered(graph: Graph, args: argparse.Namespace, model: str) -> None:
    """Start the metered node with a fixed exit."""
    exits = {"exit__policy": "fixed", "exit__fixed": args.exit}
    graph.start_tracker("metered", model=model, engine=args.engine, threads=args.threads, **exits)


def _tracked(graph: Graph, pixels: tuple[int, int], encoding: str, rate: float, frames: int) -> list[Heard]:
    """Return the statuses of ``frames`` images of one kind, without the first ones."""
    graph.statuses.clear()
    width, height = pixels
    camera = graph.start(
        "camera",
        width=width,
        height=height,
        encoding=encoding,
        rate_hz=rate,
        frames=frames + SETTLING_FRAMES,
        init_every=0,
    )
    graph.run_to_end(camera, 60 + 3 * frames / rate)
    return [heard for heard in graph.statuses if heard.exit_index][SETTLING_FRAMES:]


def _overhead_entry(is_stand_in: bool, pixels: tuple[int, int], encoding: str, heard: list[Heard]) -> dict:
    if not heard:
        raise RuntimeError(f"no {_by(pixels)} {encoding} image was tracked; was the profile for large images in force?")
    return {
        "engine": STAND_IN if is_stand_in else "engine",
        "size": list(pixels),
        "encoding": encoding,
        "frames": len(heard),
        "overhead_ms": quantiles([each.latency_ms - each.stages_ms for each in heard]),
        "engine_ms": quantiles([each.stages_ms for each in heard]),
        "arrival_ms": quantiles([each.image_age_ms - each.latency_ms for each in heard]),
    }


# --- overlay ----------------------------------------------------------------------------------------------------------


def overlay(args: argparse.Namespace) -> dict:
    """Measure the node with and without a subscriber of `overlay`, in turns of a few seconds."""
    sizes, rate, frames = args.sizes or [(640, 480), (1920, 1080)], args.rate or 10.0, args.frames or 200
    runs = []
    for model in dict.fromkeys((args.model, STAND_IN)):
        with Graph() as graph:
            _start_metered(graph, args, model)
            for pixels in tqdm(sizes, unit="size", desc=model):
                runs.append(_overlay_entry(model == STAND_IN, pixels, *_turns(graph, pixels, rate, frames)))
    return {"exit": args.exit, "rate_hz": rate, "turn_s": TURN_S, "runs": runs}


def _turns(graph: Graph, pixels: tuple[int, int], rate: float, frames: int) -> tuple[list, list, int]:
    """Return the latencies of each turn without and with a subscriber, and the number of overlay images."""
    width, height = pixels
    graph.statuses.clear()
    camera = graph.start("camera", width=width, height=height, rate_hz=rate, frames=2 * frames, init_every=0)
    graph.wait(lambda: len(graph.statuses) > SETTLING_FRAMES, "tracked image")
    turns: tuple[list[list[float]], list[list[float]]] = ([], [])
    pictures = 0
    while camera.exit_code is None:
        for watched in (False, True):
            with graph.watching("overlay") if watched else nullcontext([]) as seen:
                graph.listen(CHANGING_S)  # discovery
                graph.statuses.clear()
                graph.listen(TURN_S)
                turns[watched].append([heard.latency_ms for heard in graph.statuses if heard.exit_index])
            pictures += len(seen)
    graph.last_json(camera)
    pairs = [pair for pair in zip(*turns, strict=True) if all(pair)]  # the camera ends within a turn
    return *map(list, zip(*pairs, strict=True)), pictures


def _overlay_entry(is_stand_in: bool, pixels: tuple[int, int], nobody: list, watched: list, pictures: int) -> dict:
    differences = [float(np.median(b) - np.median(a)) for a, b in zip(nobody, watched, strict=True)]
    return {
        "engine": STAND_IN if is_stand_in else "engine",
        "size": list(pixels),
        "pictures": pictures,
        "turns": len(differences),
        "nobody_ms": quantiles([ms for turn in nobody for ms in turn]),
        "watched_ms": quantiles([ms for turn in watched for ms in turn]),
        "difference_ms": {f"p{part}": float(np.quantile(differences, part / 100)) for part in (25, 50, 75)},
    }


# --- delivery ---------------------------------------------------------------------------------------------------------


def delivery(args: argparse.Namespace) -> dict:
    """Send images between two processes by best effort, with the shipped profile and with Fast DDS's defaults."""
    sizes, rate, frames = args.sizes or [(1280, 720)], args.rate or 30.0, args.frames or 300
    found: dict[tuple, list[dict]] = defaultdict(list)
    kinds = [(pixels, profile) for pixels in sizes for profile in ("shipped", "none")]
    for _ in tqdm(range(args.rounds), unit="round", desc="delivery"):
        for pixels, profile in kinds:
            found[pixels, profile].append(_delivered(pixels, profile, rate, frames))
    return {"rate_hz": rate, "runs": [_delivery_entry(*kind, found[kind]) for kind in kinds]}


def _delivered(pixels: tuple[int, int], profile: str, rate: float, frames: int) -> dict:
    # The shipped profile whatever the user has set, or none.
    with environment(**dict.fromkeys(FAST_DDS_VARIABLES)), Graph() as graph:
        without = dict.fromkeys(FAST_DDS_VARIABLES) if profile == "none" else {}
        with environment(**without):
            receiver = graph.start("receiver")
            camera = graph.start("camera", width=pixels[0], height=pixels[1], rate_hz=rate, frames=frames)
        sent = graph.run_to_end(camera, 60 + 3 * frames / rate)
        received = graph.last_json(receiver)
    return {"sent": sent["images"], "seconds": sent["seconds"]} | received


def _delivery_entry(pixels: tuple[int, int], profile: str, rounds: list[dict]) -> dict:
    sent, received = (sum(each[key] for each in rounds) for key in ("sent", "images"))
    ages_ms = [age for each in rounds for age in each["ages_ms"]]
    return {
        "size": list(pixels),
        "profile": profile,
        "sent": sent,
        "received": received,
        "rate_hz": (sent - len(rounds)) / sum(each["seconds"] for each in rounds),
        "age_ms": quantiles(ages_ms) if ages_ms else None,
    }


# --- startup ----------------------------------------------------------------------------------------------------------


def startup(args: argparse.Namespace) -> dict:
    """Time from the start of the process with a camera running, with an empty cache and again with a filled one."""
    runs = []
    for _ in tqdm(range(args.rounds), unit="round", desc="startup"):
        with tempfile.TemporaryDirectory(prefix="dytrack_cache_") as cache, environment(XDG_CACHE_HOME=cache):
            for kind in ("cold", "warm"):
                runs.append({"cache": kind} | _first_frame(args))
    return {"runs": runs}


def _first_frame(args: argparse.Namespace) -> dict:
    with Graph() as graph:
        image = Image()
        fill_image(image, np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8))
        images = graph.node.create_publisher(Image, "image", 5)
        inits = graph.node.create_publisher(Detection2D, "init", 1)

        def show() -> None:
            image.header = Header(stamp=graph.node.get_clock().now().to_msg())
            images.publish(image)

        def ask_once() -> None:
            if inits.get_subscription_count():
                inits.publish(detection_message(Header(), (280.0, 200.0, 80.0, 80.0)))
                graph.node.destroy_timer(asking)

        graph.node.create_timer(1 / 30, show)
        asking = graph.node.create_timer(0.01, ask_once)
        started_s = time.monotonic()
        process = graph.start("tracker_node", model=args.model, engine=args.engine, threads=args.threads)
        graph.wait(lambda: "ready: waits for images" in process.output, "tracker that is ready")
        ready_s = time.monotonic()
        graph.wait(lambda: any(heard.exit_index for heard in graph.statuses), "tracked image")
        answered_s = next(heard.heard_s for heard in graph.statuses if heard.target_id)
        tracked_s = next(heard.heard_s for heard in graph.statuses if heard.exit_index)
    moments = {"ready_s": ready_s, "first_box_s": answered_s, "first_tracked_s": tracked_s}
    return {name: moment - started_s for name, moment in moments.items()}


# --- cpu --------------------------------------------------------------------------------------------------------------

CPU_SETTINGS = {"default": {}, "full depth": {"exit__tau_1": 1.0, "exit__tau_2": 1.0}}


def cpu(args: argparse.Namespace) -> dict:
    """CPU time of the node while a camera plays sequences, by the default settings and with all time used."""
    rate = args.rate or 10.0
    sequences = [sequence for folder in args.sequences for sequence in load_dataset(folder).sequences]
    if not sequences:
        raise SystemExit("--sequences is needed: folders of sequences, NAME/groundtruth.txt and NAME/img/*")
    runs = []
    for name, settings in CPU_SETTINGS.items():
        seconds, exits, dropped = 0.0, Counter(), 0
        with Graph() as graph, tqdm(sequences, unit="sequence", desc=name) as bar:
            options = {"model": args.model, "engine": args.engine, "threads": args.threads, **settings}
            if args.unlimited:
                options["budget__mode"] = "unlimited"
            tracker = graph.start_tracker("tracker_node", **options)
            for sequence in bar:
                graph.statuses.clear()
                before_s = cpu_seconds(tracker.pid)
                camera = graph.start(
                    "camera_node",
                    source=str(Path(sequence.frames[0]).parent),
                    rate_hz=rate,
                    frames=min(args.frames or 120, len(sequence)),
                    publish_init=True,
                    init_box=[float(value) for value in sequence.start_box],
                    start_when_subscribed=1,
                )
                patience_s = PATIENCE_S + 3 * len(sequence) / rate
                graph.wait(lambda: camera.exit_code is not None, "end of the camera", patience_s)  # noqa: B023
                seconds += cpu_seconds(tracker.pid) - before_s
                exits.update(heard.exit_index for heard in graph.statuses if heard.exit_index)
                dropped = graph.statuses[-1].frames_dropped
        frames = exits.total()
        runs.append(
            {
                "settings": name,
                "frames": frames,
                "dropped": dropped,
                "exits": {str(k): exits[k] for k in sorted(exits)},
                "cpu_ms_per_frame": 1e3 * seconds / frames,
                "cpu_s_per_minute": 60 * rate * seconds / frames,
            }
        )
        print(runs[-1])
    return {"rate_hz": rate, "unlimited": args.unlimited, "runs": runs}


# --- command ----------------------------------------------------------------------------------------------------------


def _by(pixels) -> str:
    return "x".join(map(str, pixels))


def _soak(args: argparse.Namespace) -> dict:
    from node_soak import soak

    return soak(args)


PARTS = {"overhead": overhead, "overlay": overlay, "delivery": delivery, "startup": startup, "cpu": cpu, "soak": _soak}


def main() -> None:
    args = parser().parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    if args.part == "draw":
        from node_report import draw

        draw(results, FIGURES)
        return
    if args.part == "table":
        from node_report import tables

        print(tables(results))
        return
    machine, use = machine_facts(), MachineUse()
    measured = PARTS[args.part](args)
    settings = {
        "model": Path(args.model).stem,
        "engine": choose_engine()[0] if args.engine == "auto" else args.engine,
        "threads": args.threads,
    }
    results[args.part] = {"machine": machine, "use": use.facts()} | settings | measured
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(rounded(results)) + "\n")


if __name__ == "__main__":
    main()
