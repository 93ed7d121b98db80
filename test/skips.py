"""The skips that continuous integration allows: with DYTRACK_FORBID_SKIPS set, any other one makes the run fail."""

import os
import re

ALLOWED = (
    r"needs a CUDA device",
    r"launch_ros comes with a ROS distribution, not from PyPI",
    r"nncf is not installed",
    r"this OpenCV has no NanoTrack",
)


def unexpected(config):
    """The reasons of this run's skips that are not allowed."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("DYTRACK_FORBID_SKIPS") or reporter is None:
        return []
    reports = [report for report in reporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)]
    reasons = {str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports}
    return sorted(reason for reason in reasons if not any(re.match(allowed, reason) for allowed in ALLOWED))


def pytest_sessionfinish(session):
    if unexpected(session.config) and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter, config):
    for reason in unexpected(config):
        terminalreporter.write_line(f"skipped, which test/skips.py does not allow: {reason}", red=True)
