"""The results of a benchmark as a dictionary for JSON and as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dytrack_ros.benchmark.benches import MatrixBench, Size
from dytrack_ros.benchmark.run import BenchmarkConfig, Contestant
from dytrack_ros.model.arithmetic import Arithmetic

NOTE = (
    "CPU figures are ratios from one run: compare them with each other, not with another run or machine. "
    "Milliseconds are p50/p95; (2.0x) = twice as fast as the torch engine at the same exit, by p50."
)


def build_report(contestants: Sequence[Contestant], arithmetic: dict[str, Arithmetic], config: BenchmarkConfig) -> dict:
    """Return every figure of a run; ``arithmetic`` by the models' names."""
    reference = {c.model: c for c in contestants if c.model and c.name == "torch"}
    return {
        "note": NOTE,
        "models": {name: _arithmetic_entry(of_model) for name, of_model in arithmetic.items()},
        "engines": [
            _engine_entry(c, arithmetic[c.model], reference.get(c.model), config) for c in contestants if c.model
        ],
        "peers": [_peer_entry(c, arithmetic, reference, config) for c in contestants if c.name and not c.model],
        "matrix_product": next((_matrix_entry(c) for c in contestants if not c.name), None),
    }


def size_name(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _arithmetic_entry(of_model: Arithmetic) -> dict:
    exits = [of_model.answer(exit_index) for exit_index in range(1, len(of_model.stages) + 1)]
    return {
        "template_macs": of_model.template,
        "stage_macs": list(of_model.stages),
        "head_macs": of_model.head,
        "exit_macs": exits,
    }


def _engine_entry(
    contestant: Contestant, macs: Arithmetic, reference: Contestant | None, config: BenchmarkConfig
) -> dict:
    exits = range(1, len(macs.stages) + 1)
    times = _timer(contestant, reference)

    def achieved(key: tuple, count: int) -> dict:
        entry = times(key)
        return {**entry, "macs": count, "gmac_per_s": count / entry["p50_ms"] / 1e6}

    return {
        "engine": contestant.name,
        "model": contestant.model,
        "device": contestant.worker.facts["device"],
        "device_name": contestant.worker.facts["device_name"],
        **_process_entry(contestant),
        "model_only": {
            "template": times(("template",)),
            "stages": [achieved(("stage", k), macs.stages[k - 1]) for k in exits],
            "heads": [achieved(("head", k), macs.head) for k in exits],
            "exits": [achieved(("exit", k), macs.answer(k)) for k in exits],
        },
        "end_to_end": {
            size_name(size): {
                "initialize": times((size, "initialize")),
                "exits": [times((size, "exit", k)) for k in exits],
            }
            for size in config.sizes
        },
    }


def _peer_entry(
    contestant: Contestant, arithmetic: dict[str, Arithmetic], reference: dict[str, Contestant], config: BenchmarkConfig
) -> dict:
    """Return a peer's entry; its ratios to the torch engine are by model, one for each exit."""

    def ratios(size: Size) -> dict[str, list[float]]:
        own = _p50_ms(contestant.samples[size, "track"])
        return {
            model: [_p50_ms(torch.samples[size, "exit", k + 1]) / own for k in range(len(arithmetic[model].stages))]
            for model, torch in reference.items()
        }

    return {
        "tracker": contestant.name,
        "opencv": contestant.worker.facts["opencv"],
        **_process_entry(contestant),
        "end_to_end": {
            size_name(size): {
                "initialize": _times(contestant.samples[size, "initialize"]),
                "track": _times(contestant.samples[size, "track"]),
                "lost": float(np.mean(contestant.samples[size, "lost"])),
                "times_as_fast_as_torch": ratios(size),
            }
            for size in config.sizes
        },
    }


def _matrix_entry(contestant: Contestant) -> dict:
    """Return the reference for the achieved multiply-accumulates a second."""
    entry = _times(contestant.samples["product",])
    return {**entry, "macs": MatrixBench.macs, "gmac_per_s": MatrixBench.macs / entry["p50_ms"] / 1e6}


def _process_entry(contestant: Contestant) -> dict:
    start = contestant.start
    return {
        "ready": {"seconds": start.seconds, "graphs": start.graphs, "cold_seconds": start.cold_s},
        "memory": {"before_engine_mb": contestant.worker.memory_before_mb, "peak_mb": contestant.peak_memory_mb},
    }


def _timer(contestant: Contestant, reference: Contestant | None) -> Callable[[tuple], dict]:
    def times(key: tuple) -> dict:
        entry = _times(contestant.samples[key])
        ratio = _p50_ms(reference.samples[key]) / entry["p50_ms"] if reference else None
        return {**entry, "times_as_fast_as_torch": ratio}

    return times


def _times(seconds: Sequence[float]) -> dict:
    samples = [round(1e3 * value, 4) for value in seconds]
    return {"p50_ms": _p50_ms(seconds), "p95_ms": 1e3 * float(np.percentile(seconds, 95)), "samples_ms": samples}


def _p50_ms(seconds: Sequence[float]) -> float:
    return 1e3 * float(np.median(seconds))


# --- tables ----------------------------------------------------------------------------------------------------------


def tables(report: dict) -> str:
    """Return the tables of :func:`build_report`'s report."""
    parts = []
    for model, macs in report["models"].items():
        engines = [entry for entry in report["engines"] if entry["model"] == model]
        if engines:
            parts += [
                _model_only_table(model, engines),
                _arithmetic_table(model, engines, macs, report["matrix_product"]),
            ]
    parts += [_end_to_end_table(report), _process_table(report)]
    return "\n\n".join(parts)


def _model_only_table(model: str, engines: list[dict]) -> str:
    count = len(engines[0]["model_only"]["exits"])
    header = ["engine", "template"]
    header += [f"{what} {k}" for what in ("stage", "head", "exit") for k in range(1, count + 1)]
    rows = []
    for entry in engines:
        measured = entry["model_only"]
        cells = [measured["template"], *measured["stages"], *measured["heads"]]
        rows.append([_engine_name(entry), *map(_cell, cells), *map(_cell_with_ratio, measured["exits"])])
    return f"{model}, the network alone (begin, advance ..., locate), ms\n{_aligned(header, rows)}"


def _arithmetic_table(model: str, engines: list[dict], macs: dict, matrix_product: dict | None) -> str:
    header = ["engine", *(f"exit {k}: {count / 1e9:.3f} GMAC" for k, count in enumerate(macs["exit_macs"], start=1))]
    rows = [[_engine_name(e), *(f"{x['gmac_per_s']:.1f}" for x in e["model_only"]["exits"])] for e in engines]
    title = f"{model}, achieved GMAC/s"
    if matrix_product:
        title += f" (a large fp32 matrix product of NumPy's on this CPU: {matrix_product['gmac_per_s']:.1f})"
    return f"{title}\n{_aligned(header, rows)}"


def _end_to_end_table(report: dict) -> str:
    rows = []
    for entry in report["engines"]:
        sizes = entry["end_to_end"]
        for k in range(len(entry["model_only"]["exits"])):
            name = f"{entry['model']} exit {k + 1}, {_engine_name(entry)}"
            rows.append([name, *(_cell_with_ratio(at_size["exits"][k]) for at_size in sizes.values())])
    for entry in report["peers"]:
        sizes = entry["end_to_end"]
        rows.append([entry["tracker"], *(_peer_cell(at_size) for at_size in sizes.values())])
    return f"End to end (uint8 BGR frame in, box out), ms\n{_aligned(['tracker', *sizes], rows)}"


def _process_table(report: dict) -> str:
    rows = []
    for entry in [*report["engines"], *report["peers"]]:
        name = entry.get("tracker") or f"{entry['model']}, {_engine_name(entry)}"
        ready, memory = entry["ready"], entry["memory"]
        rows.append([
            name,
            f"{ready['seconds']:.1f} s",
            f"{ready['cold_seconds']:.1f} s" if ready["cold_seconds"] else "-",
            ready["graphs"],
            _megabytes(memory["peak_mb"]),
            _megabytes(memory["before_engine_mb"]),
        ])  # fmt: skip
    header = ["process", "ready after", "first start, cold", "graphs", "peak memory", "before the engine"]
    return f"Start (the disk's cache as it was found) and resident memory\n{_aligned(header, rows)}"


def _engine_name(entry: dict) -> str:
    return entry["engine"] if entry["device"] == "cpu" else f"{entry['engine']} ({entry['device']})"


def _cell(times: dict) -> str:
    return f"{times['p50_ms']:.2f}/{times['p95_ms']:.2f}"


def _cell_with_ratio(times: dict) -> str:
    ratio = times["times_as_fast_as_torch"]
    return _cell(times) + (f" ({ratio:.1f}x)" if ratio else "")


def _peer_cell(at_size: dict) -> str:
    return _cell(at_size["track"]) + (f" (lost {at_size['lost']:.0%})" if at_size["lost"] else "")


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} MB"


def _aligned(header: list[str], rows: Iterable[list[str]]) -> str:
    """Return a table, the first column left-aligned, the others right-aligned."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line_of(first: str, *others: str) -> str:
        return "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])

    return "\n".join(line_of(*line) for line in lines)
