"""What belongs into one set of figures: the runs of a report that can be compared with each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.kept_runs import file_name
from dytrack_ros.evaluation.plan import start_name
from dytrack_ros.evaluation.reliability import pooled_reliability

Start = tuple[str, str]  # variant, part of the first box


@dataclass(frozen=True)
class Section:
    """All runs of one variant, from one part of the first box, at one rate (``stream_hz``, None offline): entries of the
    report as :func:`dytrack_ros.evaluation.report.report_entry` makes them, with their sequences by name and, where
    ``--levels`` was given, the start's difficulty."""

    start: Start
    stream_hz: float | None
    runs: list[dict]
    sequences: dict[str, Sequence]
    difficulty: dict | None = None

    @property
    def title(self) -> str:
        return start_name(*self.start) + ("" if self.stream_hz is None else f", {self.stream_hz:g} Hz")

    @property
    def file_name(self) -> str:
        return file_name(self.title.replace(", ", "_"))

    @property
    def fixed_exits(self) -> dict[int, dict]:
        """The runs that hold an exit, by its number."""
        return {int(run["policy"][5:]): run for run in self.runs if run["policy"].startswith("exit ")}

    @property
    def mixed(self) -> list[dict]:
        """The runs in which not all frames left at the same exit."""
        return [run for run in self.runs if len(run["mean"]["exits"]) > 1]

    @property
    def deepest(self) -> dict:
        """The run whose boxes stand for the tracker: that of the deepest exit held, else the first."""
        return self.fixed_exits[max(self.fixed_exits)] if self.fixed_exits else self.runs[0]

    def reliability(self) -> tuple[dict[int, dict], str]:
        """Each exit's scores against the true IoUs, and on which frames, in words: on as many as were asked for."""
        if self.difficulty:
            found = dict(enumerate(self.difficulty["reliability_by_exit"], start=1))
            return found, "every exit on every frame, on the crops of the last"
        if self.fixed_exits:
            of_exit = {k: run["by_exit"].get(k) for k, run in sorted(self.fixed_exits.items())}
            return {k: each["reliability"] for k, each in of_exit.items() if each}, "each exit held in a run of its own"
        taken: dict[int, list[dict]] = {}
        for run in self.runs:
            for k, each in run["by_exit"].items():
                taken.setdefault(k, []).append(each["reliability"])
        return {k: pooled_reliability(taken[k]) for k in sorted(taken)}, "only the frames that left there"


def sections(report: dict, sequences: dict[Start, Iterable[Sequence]]) -> list[Section]:
    """The report's runs as they belong together, in its order; ``sequences`` are those of each start."""
    groups: dict[tuple[Start, float | None], list[dict]] = {}
    for run in report["runs"]:
        groups.setdefault(((run["variant"], run["init"]), run["stream_hz"]), []).append(run)
    difficulties = {(each["variant"], each["init"]): each for each in report["difficulty"]}
    return [
        Section(start, hz, runs, {each.name: each for each in sequences[start]}, difficulties.get(start))
        for (start, hz), runs in groups.items()
    ]
