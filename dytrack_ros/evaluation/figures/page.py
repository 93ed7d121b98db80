"""Write ``report.html`` and its figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from matplotlib.figure import Figure
from tqdm import tqdm

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.figures import plots
from dytrack_ros.evaluation.figures.frames import ScoreMapper, score_maps, strips
from dytrack_ros.evaluation.figures.section import Section, Start, sections

DPI = 100
STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #555; }
"""
MEASURES = {
    "success_auc": "AUC", "precision": "P", "normalised_precision": "Pnorm", "ao": "AO", "sr50": "SR50", "sr75": "SR75",
    "mean_score": "score", "mean_ms": "ms", "p95_ms": "p95 ms",
}  # fmt: skip


def write_report(folder: Path, report: dict, sequences: dict[Start, list[Sequence]], weights: Path) -> Path:
    """Draw all figures that ``report`` (the JSON of ``dytrack evaluate``) has numbers for, and write the page.

    ``sequences`` are those of each start. Heat maps run the network on a few frames. Returns the page's path. Raises
    OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mapper, no_maps = None, ""
    try:
        mapper = ScoreMapper(weights)
    except ImportError as error:
        no_maps = f"No heat maps: they need PyTorch ({error})."
    parts = [_heading(report), f"<p>{escape(no_maps)}</p>" if no_maps else ""]
    for section in tqdm(sections(report, sequences), desc="drawing", unit="part", leave=False):
        parts.append(f"<h2>{escape(section.title)}</h2>")
        parts.append(_measures_table(section))
        for name, figure, caption in _figures(section, report["jobs"], mapper):
            file = folder / f"{section.file_name}_{name}.png"
            figure.savefig(file, dpi=DPI)
            alternative = escape(f"{name.replace('_', ' ')}, {section.title}", quote=True)
            parts.append(
                f'<figure><img src="{escape(file.name, quote=True)}" alt="{alternative}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
            if name == "reliability":
                parts.append(_reliability_table(section))
    page = folder / "report.html"
    title = escape(f"{report['model']} on {', '.join(each['name'] for each in report['sets'])}")
    page.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n"
        "<body>\n" + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )
    return page


def _figures(section: Section, jobs: int, mapper: ScoreMapper | None) -> Iterator[tuple[str, Figure, str]]:
    """Yield name, figure and caption of all figures of a section."""
    slow = f" Measured with {jobs} sequences at a time: the times are not comparable." if jobs > 1 else ""
    yield "pareto", plots.pareto(section), "Success AUC against the mean time of a frame." + slow
    caption = (
        "Shares of frames, means over sequences. In the legends AUC, the share within 20 px, the share within 0.2."
    )
    yield "curves", plots.success_and_precision(section), caption
    if section.mixed:
        figure, what = plots.exit_shares(section)
        yield "exits", figure, f"Share of the frames that took each exit, {what}."
    if section.difficulty:
        yield "difficulty", plots.difficulty(section), "Level 1 has the frames that are easiest for exit 1."
    found, source = section.reliability()
    yield (
        "reliability",
        plots.reliability(found),
        (
            f"Predicted against true IoU ({source}; frames with a target). Bars are the difference "
            "between score and IoU; the error is their mean over frames."
        ),
    )
    drawn = strips(section)
    if drawn:
        yield (
            "sequences",
            drawn,
            (
                f"From the worst to the best by AUC of {section.deepest['policy']}. Above each image the frame number "
                "and the IoU of each box, in the legend's order."
            ),
        )
    drawn = score_maps(section, mapper) if mapper and section.stream_hz is None else None
    if drawn:
        yield (
            "score_maps",
            drawn,
            (
                f"Corner heat maps (top left yellow, bottom right pink; PyTorch, fp32) on the crop around the box of "
                f"{section.deepest['policy']} on the frame before. Dashed: the truth."
            ),
        )


def _heading(report: dict) -> str:
    rows = [
        f"<li>{escape(each['name'])} ({escape(each['dataset'])}): {each['runs'][0]['mean']['sequences']} sequences, "
        f"{sum(one['frames'] for one in each['runs'][0]['sequences'])} frames in the first run</li>"
        for each in report["sets"]
    ]
    has_budgets = any("budget" in run for each in report["sets"] for run in each["runs"])
    note = f"<p>Budgets: {escape(report['calibration'])}</p>" if has_budgets and report["calibration"] else ""
    return (
        f"<h1>{escape(report['model'])}</h1>\n<p>Engine {escape(report['engine'])}.</p><ul>{''.join(rows)}</ul>{note}"
    )


def _measures_table(section: Section) -> str:
    streamed = section.stream_hz is not None
    header = ["policy", *MEASURES.values(), *(["skipped", "latency ms"] if streamed else []), "exits taken"]
    rows = []
    for run in section.runs:
        mean = run["mean"]
        cells = [run["policy"], *(_number(mean[name], 1 if name.endswith("_ms") else 3) for name in MEASURES)]
        if streamed:
            cells += [f"{mean['skipped']:.1%}", _number(mean["mean_latency_ms"], 1)]
        rows.append([*cells, ", ".join(f"{k}: {count}" for k, count in mean["exits"].items())])
    return _table(header, rows)


def _reliability_table(section: Section) -> str:
    found, _ = section.reliability()
    header = ["predicted IoU", *(f"exit {k}: {what}" for k in found for what in ("frames", "score", "IoU"))]
    rows = []
    for bins in zip(*(each["bins"] for each in found.values()), strict=True):
        cells = [f"{bins[0]['from']:g} to {bins[0]['to']:g}"]
        for one in bins:
            cells += [str(one["frames"]), _number(one["mean_score"]), _number(one["mean_iou"])]
        rows.append(cells)
    total = ["all"]
    for each in found.values():
        total += [str(each["frames"]), _number(each["mean_score"]), _number(each["mean_iou"])]
    errors = ["calibration error"]
    for each in found.values():
        errors += ["", "", _number(each["calibration_error"])]
    return _table(header, [*rows, total, errors])


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>\n" + "\n".join([line(header, "th"), *(line(row, "td") for row in rows)]) + "\n</table>"


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
