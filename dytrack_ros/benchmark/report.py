"""The results of a benchmark as a dictionary for JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dytrack_ros.benchmark.benches import Size
from dytrack_ros.benchmark.run import BenchmarkConfig, Contestant

NOTE = (
    "CPU figures are ratios from one run: compare them with each other, not with another run or machine. "
    "Milliseconds are p50/p95."
)


def build_report(contestants: Sequence[Contestant], config: BenchmarkConfig) -> dict:
    """Return every figure of a run: times in milliseconds, memory in MB."""
    return {
        "note": NOTE,
        "engines": [_engine_entry(c, config) for c in contestants if c.model],
        "peers": [_peer_entry(c, config) for c in contestants if not c.model],
    }


def size_name(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _engine_entry(contestant: Contestant, config: BenchmarkConfig) -> dict:
    times = {key: _times(seconds) for key, seconds in contestant.samples.items()}
    exits = range(1, 1 + sum(key[0] == "exit" for key in times))
    return {
        "engine": contestant.name,
        "model": contestant.model,
        "device": contestant.worker.device,
        "precision": config.precision,
        "ready_s": contestant.worker.ready_s,
        "peak_memory_mb": contestant.peak_memory_mb,
        "model_only": {
            "template": times["template",],
            "stages": [times["stage", k] for k in exits],
            "heads": [times["head", k] for k in exits],
            "exits": [times["exit", k] for k in exits],
        },
        "end_to_end": {
            size_name(size): {
                "initialize": times[size, "initialize"],
                "exits": [times[size, "exit", k] for k in exits],
            }
            for size in config.sizes
        },
    }


def _peer_entry(contestant: Contestant, config: BenchmarkConfig) -> dict:
    samples = contestant.samples
    return {
        "tracker": contestant.name,
        "ready_s": contestant.worker.ready_s,
        "peak_memory_mb": contestant.peak_memory_mb,
        "end_to_end": {
            size_name(size): {
                "initialize": _times(samples[size, "initialize"]),
                "track": _times(samples[size, "track"]),
                "lost": float(np.mean(samples[size, "lost"])),
            }
            for size in config.sizes
        },
    }


def _times(seconds: Sequence[float]) -> dict[str, float]:
    p50, p95 = 1e3 * np.percentile(seconds, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "samples": len(seconds)}


# --- tables ----------------------------------------------------------------------------------------------------------


def tables(report: dict) -> str:
    """Return the tables of :func:`build_report`'s report."""
    models = dict.fromkeys(entry["model"] for entry in report["engines"])
    parts = [_model_only_table(m, [entry for entry in report["engines"] if entry["model"] == m]) for m in models]
    return "\n\n".join([*parts, _end_to_end_table(report), _process_table(report)])


def _model_only_table(model: str, engines: list[dict]) -> str:
    count = len(engines[0]["model_only"]["exits"])
    header = ["engine", "template"]
    header += [f"{what} {k}" for what in ("stage", "head", "exit") for k in range(1, count + 1)]
    rows = []
    for entry in engines:
        measured = entry["model_only"]
        cells = [measured["template"], *measured["stages"], *measured["heads"], *measured["exits"]]
        rows.append([_engine_name(entry), *map(_cell, cells)])
    return f"{model}, the network alone (begin, advance ..., locate), ms\n{_aligned(header, rows)}"


def _end_to_end_table(report: dict) -> str:
    rows = []
    for entry in report["engines"]:
        for k in range(len(entry["model_only"]["exits"])):
            name = f"{entry['model']} exit {k + 1}, {_engine_name(entry)}"
            rows.append([name, *(_cell(at_size["exits"][k]) for at_size in entry["end_to_end"].values())])
    for entry in report["peers"]:
        cells = [
            _cell(at_size["track"]) + (f" (lost {at_size['lost']:.0%})" if at_size["lost"] else "")
            for at_size in entry["end_to_end"].values()
        ]
        rows.append([entry["tracker"], *cells])
    header = ["tracker", *report["engines"][0]["end_to_end"]]
    return f"End to end (uint8 BGR frame in, box out), ms\n{_aligned(header, rows)}"


def _process_table(report: dict) -> str:
    rows = []
    for entry in [*report["engines"], *report["peers"]]:
        name = entry.get("tracker") or f"{entry['model']}, {_engine_name(entry)}"
        memory = entry["peak_memory_mb"]
        rows.append([name, f"{entry['ready_s']:.1f} s", "-" if memory is None else f"{memory:.0f} MB"])
    table = _aligned(["process", "ready after", "peak memory"], rows)
    return f"Start (the caches as they were found) and resident memory\n{table}"


def _engine_name(entry: dict) -> str:
    usual = {"device": "cpu", "precision": "auto"}
    special = [entry[key] for key, value in usual.items() if entry[key] != value]
    return entry["engine"] + (f" ({', '.join(special)})" if special else "")


def _cell(times: dict) -> str:
    return f"{times['p50_ms']:.2f}/{times['p95_ms']:.2f}"


def _aligned(header: list[str], rows: Iterable[list[str]]) -> str:
    """Return a table, the first column left-aligned, the others right-aligned."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]) for first, *others in lines
    )
