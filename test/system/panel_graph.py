"""A graph for the tests of the panel: a synthetic camera, a tracker with tiny weights, and the panel, as processes."""

import re

SETTINGS = {
    "engine": "torch",
    "threads": 1,
    "budget__mode": "unlimited",
    "lost__score": 0.0,
    "lost__uncertain_score": 0.0,
}
WIDTH, HEIGHT = 640, 480


def start_camera(graph, namespace="/", **changes):
    settings = {
        "source": "synthetic",
        "rate_hz": 10.0,
        "loop": True,
        "synthetic__width": WIDTH,
        "synthetic__height": HEIGHT,
    }
    return graph.start("camera_node", namespace, **settings | changes)


def start_tracker(graph, weights, namespace="/", **changes):
    return graph.start("tracker_node", namespace, model=str(weights), **SETTINGS | changes)


def start_panel(graph, namespace="/", **parameters):
    """The process, and where its page is."""
    panel = graph.start("dytrack_panel", namespace, **{"port": 0} | parameters)
    graph.wait_until(lambda: "ready: open" in panel.output or panel.exit_code is not None, "panel")
    found = re.search(r"open (http://\S+)", panel.output)
    assert found, panel.output
    return panel, found.group(1)
