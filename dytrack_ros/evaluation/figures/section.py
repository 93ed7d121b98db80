"""Group the runs of a report that share one set of figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.analysis import pooled_reliability
from dytrack_ros.evaluation.result_cache import file_name
from dytrack_ros.evaluation.run_matrix import start_name

Start = tuple[str, str, str]  # set, variant, part of the init box


@dataclass(frozen=True)
class Section:
    """All runs on one set and variant, from one part of the init box, at one rate (``stream_hz``, None offline).

    ``runs`` are entries of :func:`dytrack_ros.evaluation.report.report_entry`; ``sequences`` are by name;
    ``difficulty`` needs ``--levels``.
    """

    start: Start
    stream_hz: float | None
    runs: list[dict]
    sequences: dict[str, Sequence]
    difficulty: dict | None = None

    @property
    def title(self) -> str:
        set_name, variant, init = self.start
        return f"{set_name}: {start_name(variant, init)}" + (
            "" if self.stream_hz is None else f", {self.stream_hz:g} Hz"
        )

    @property
    def file_name(self) -> str:
        return file_name(self.title.replace(", ", "_").replace(": ", "_"))

    @property
    def fixed_exits(self) -> dict[int, dict]:
        """The runs with a fixed exit, by its number."""
        return {int(run["policy"][5:]): run for run in self.runs if run["policy"].startswith("exit ")}

    @property
    def mixed(self) -> list[dict]:
        """The runs that took more than one exit."""
        return [run for run in self.runs if len(run["mean"]["exits"]) > 1]

    @property
    def deepest(self) -> dict:
        """The run of the deepest fixed exit, else the first run."""
        return self.fixed_exits[max(self.fixed_exits)] if self.fixed_exits else self.runs[0]

    def reliability(self) -> tuple[dict[int, dict], str]:
        """Return each exit's score reliability and a phrase that says on which frames."""
        if self.difficulty:
            found = dict(enumerate(self.difficulty["reliability_by_exit"], start=1))
            return found, "every exit on every frame, on the crops of the last exit"
        if self.fixed_exits:
            of_exit = {k: run["by_exit"].get(k) for k, run in sorted(self.fixed_exits.items())}
            return {k: each["reliability"] for k, each in of_exit.items() if each}, "each exit in a run of its own"
        taken: dict[int, list[dict]] = {}
        for run in self.runs:
            for k, each in run["by_exit"].items():
                taken.setdefault(k, []).append(each["reliability"])
        return {k: pooled_reliability(taken[k]) for k in sorted(taken)}, "only the frames that took the exit"


def sections(report: dict, sequences: Mapping[Start, Iterable[Sequence]]) -> list[Section]:
    """Return the sections of a report, in its order; ``sequences`` are those of each start."""
    found = []
    for each in report["sets"]:
        groups: dict[tuple[Start, float | None], list[dict]] = {}
        for run in each["runs"]:
            groups.setdefault(((each["name"], run["variant"], run["init"]), run["stream_hz"]), []).append(run)
        difficulties = {(each["name"], one["variant"], one["init"]): one for one in each["difficulty"]}
        found += [
            Section(start, hz, runs, {one.name: one for one in sequences[start]}, difficulties.get(start))
            for (start, hz), runs in groups.items()
        ]
    return found
