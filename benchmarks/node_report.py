"""Tables and figure of the results of ``node.py``."""

from __future__ import annotations

from pathlib import Path

DEMANDED_OVERHEAD_MS = {720: 2.0, 1080: 4.0}
DEMANDED_START_S = {"cold": 30.0, "warm": 5.0}
DEMANDED_DELIVERY = {"shipped": ">= 99 %", "none": "nearly none"}
DEMANDED_SPREAD = 0.02
PROFILES = {"shipped": "the shipped one", "none": "none (Fast DDS's defaults)"}


def tables(results: dict) -> str:
    """Markdown, for the parts that there are results of."""
    writers = {
        "overhead": _overhead,
        "overlay": _overlay,
        "delivery": _delivery,
        "startup": _startup,
        "cpu": _cpu,
        "soak": _soak,
    }
    return "\n\n".join("\n".join(writer(results[part])) for part, writer in writers.items() if part in results)


def _where(part: str, result: dict) -> str:
    machine, use = result["machine"], result["use"]
    return (
        f"**{part}** {machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores; meanwhile "
        f"({use['seconds']:.0f} s) others kept {use['busy_cores_of_others']:.2f} cores busy."
    )


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["", *(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))]


def _pair(quantiles: dict[str, float] | None) -> str:
    return f"{quantiles['p50']:.2f} / {quantiles['p95']:.2f}" if quantiles else ""


def _network(result: dict) -> str:
    return f"`{result['model']}` on `{result['engine']}`"


def _size(entry: dict) -> str:
    return "x".join(map(str, entry["size"]))


def _overhead(result: dict) -> list[str]:
    rows = [
        [
            f"{_size(run)} {run['encoding']}",
            "stand-in" if run["engine"] == "stand-in" else f"{result['engine']}, exit {result['exit']}",
            str(run["frames"]),
            _pair(run["overhead_ms"]),
            f"{DEMANDED_OVERHEAD_MS[run['size'][1]]:g}" if run["size"][1] in DEMANDED_OVERHEAD_MS else "",
            _pair(run["engine_ms"]),
            _pair(run["arrival_ms"]),
        ]
        for run in result["runs"]
    ]
    header = ["image", "engine", "images", "beside the engine, ms", "demanded", "engine, ms", "stamp to arrival, ms"]
    lead = f"{_network(result)}, images at {result['rate_hz']:g} Hz; p50 / p95."
    return [_where("Overhead.", result), lead, *_table(header, rows)]


def _overlay(result: dict) -> list[str]:
    rows = [
        [
            _size(run),
            "stand-in" if run["engine"] == "stand-in" else f"{result['engine']}, exit {result['exit']}",
            f"{run['turns']} of {result['turn_s']:g} s",
            _pair(run["nobody_ms"]),
            _pair(run["watched_ms"]),
            "{p50:+.2f} ({p25:+.2f} to {p75:+.2f})".format(**run["difference_ms"]),
        ]
        for run in result["runs"]
    ]
    header = ["bgr8 image", "engine", "pairs of turns", "nobody watches, ms", "watched, ms", "difference, ms"]
    lead = (
        f"{_network(result)}, images at {result['rate_hz']:g} Hz; `latency_ms`, p50 / p95; difference of the medians of"
    )
    lead += " neighbouring turns: its median, and in brackets its quartiles."
    return [_where("Overlay.", result), lead, *_table(header, rows)]


def _delivery(result: dict) -> list[str]:
    rows = [
        [
            _size(run),
            PROFILES[run["profile"]],
            f"{run['sent']} at {run['rate_hz']:.1f} Hz",
            f"{run['received']} ({run['received'] / run['sent']:.1%})",
            DEMANDED_DELIVERY[run["profile"]],
            _pair(run["age_ms"]),
        ]
        for run in result["runs"]
    ]
    header = ["bgr8 image", "Fast DDS profile", "sent", "arrived", "demanded", "age on arrival, ms"]
    return [_where("Delivery.", result), *_table(header, rows)]


def _startup(result: dict) -> list[str]:
    rows = []
    for cache, demanded in DEMANDED_START_S.items():
        runs = [run for run in result["runs"] if run["cache"] == cache]
        times = [", ".join(f"{run[key]:.2f}" for run in runs) for key in ("ready_s", "first_tracked_s")]
        rows.append([cache, *times, f"< {demanded:g}"])
    header = ["cache of graphs", "ready, s", "first image tracked, s", "demanded"]
    return [_where("Start.", result), f"{_network(result)}.", *_table(header, rows)]


def _cpu(result: dict) -> list[str]:
    rows = [
        [
            run["settings"],
            f"{run['cpu_s_per_minute']:.1f}",
            f"{run['cpu_ms_per_frame']:.1f}",
            ", ".join(f"{k}: {count / run['frames']:.0%}" for k, count in run["exits"].items()),
            str(run["dropped"]),
        ]
        for run in result["runs"]
    ]
    header = ["settings", "CPU s a minute", "CPU ms a frame", "exits", "dropped"]
    lead = f"{_network(result)}, images at {result['rate_hz']:g} Hz" + ", budget.mode unlimited." * result["unlimited"]
    return [_where("CPU.", result), lead, *_table(header, rows)]


def _soak(result: dict) -> list[str]:
    verdict, parameters, answer = result["verdict"], result["parameters"], result["parameters"]["answer_ms"]
    growth = {name: f"{value:+.1%}" for name, value in verdict["growth"].items()}
    rows = [
        ["resident memory", f"{verdict['resident_mb']:.0f} MB"],
        [
            "largest less smallest, after the warm-up",
            f"{verdict['resident_spread']:.2%} (demanded: {DEMANDED_SPREAD:.0%})",
        ],
        ["growth of memory, first to last moment", growth["resident_all"]],
        ["growth of latency, p50 and p95", f"{growth['latency_p50']}, {growth['latency_p95']}"],
        ["growth of age, p50 and p95", f"{growth['age_p50']}, {growth['age_p95']}"],
        ["growth of the mean exit", growth["exit"]],
        ["images sent, answered, tracked", f"{result['images']}, {result['frames']}, {result['frames_tracked']}"],
        ["inits, targets followed", f"{result['inits']}, {result['targets']}"],
        [
            "parameter calls, unanswered, answered wrongly",
            f"{parameters['calls']}, {parameters['unanswered']}, {parameters['answered_wrongly']}",
        ],
        ["answer to a parameter call, p50 / p99 / longest", " / ".join(f"{ms:.1f}" for ms in answer.values()) + " ms"],
        ["warnings and errors in the log", str(len(result["warnings"]))],
    ]
    lead = (
        f"{_network(result)}, {result['minutes']:g} minutes of {_size(result)} at {result['rate_hz']:g} Hz, the first "
        f" {result['warm_up_minutes']:g} left out of spread and growth."
    )
    return [_where("Soak.", result), lead, *_table(["", ""], rows)]


def draw(results: dict, folder: Path) -> None:
    """Draws what there are results of."""
    if "soak" not in results:
        raise SystemExit("there is no soak in the results yet: benchmarks/node.py soak")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "node_soak.png"
    _soak_figure(results["soak"]).savefig(path, dpi=110)
    print(f"wrote {path}")


def _soak_figure(result: dict):
    """Resident memory, latency and age over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    series = result["series"]
    minutes = [seconds / 60 for seconds in series["seconds"]]
    figure, (memory, latency, age) = plt.subplots(
        3, 1, figsize=(9, 7), sharex=True, height_ratios=(3, 2, 2), layout="constrained"
    )
    for name, label, colour in (
        ("all", "all", "#264653"),
        ("own", "its own", "#2a9d8f"),
        ("shared", "shared, with Fast DDS's segments", "#e9c46a"),
    ):
        memory.plot(minutes, series[f"resident_{name}_mb"], color=colour, label=label)
    memory.set(ylabel="resident memory, MB")
    for axes, name in ((latency, "latency"), (age, "age")):
        for part, colour in (("p50", "#264653"), ("p95", "#e76f51")):
            axes.plot(minutes, series[f"{name}_{part}_ms"], color=colour, linewidth=1, label=part)
    latency.set(ylabel="received to\npublished, ms")
    age.set(ylabel="stamped to\npublished, ms", xlabel="minutes")
    for axes in (memory, latency, age):
        axes.set_ylim(bottom=0)
        axes.axvspan(0, result["warm_up_minutes"], color="#eeeeee", linewidth=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right")
    memory.set_title(
        f"{result['model']} on {result['engine']}, {_size(result)} at {result['rate_hz']:g} Hz, "
        f"parameters set 20 times a second (grey: warm-up)",
        fontsize=10,
    )
    return figure
