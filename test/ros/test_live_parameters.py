"""Parameters of a running node: declared, checked, coerced and logged."""

import re

import pytest
import rclpy
from rclpy.parameter import Parameter as RosParameter

from dytrack_ros.nodes.parameter_schema import LiveParameters, Parameter
from dytrack_ros.nodes.parameters import TRACKER
from dytrack_ros.nodes.run import RunnableNode

TABLE = (
    Parameter("model", "small", "Fixed.", read_only=True),
    Parameter("exit.tau_1", 0.5, "A number.", 0.0, 1.0),
    Parameter("exit.fixed", 3, "A count.", 1, 3),
    Parameter("box", (0.0, 0.0), "A list."),
    Parameter("mode", "camera", "A word.", choices=("camera", "unlimited")),
    Parameter("hide", False, "A switch."),
)


class Logger:
    def __init__(self):
        self.lines = []

    def warning(self, line):
        self.lines.append(line)


@pytest.fixture
def make_node(monkeypatch):
    """Make a node with parameters given at start; `node.log` is what it has warned of."""
    context, nodes = rclpy.Context(), []
    rclpy.init(context=context)

    def make(table=TABLE, **given):
        overrides = [RosParameter(name.replace("__", "."), value=value) for name, value in given.items()]
        node = RunnableNode("node", context=context, parameter_overrides=overrides)
        nodes.append(node)
        logger = Logger()
        monkeypatch.setattr(node, "get_logger", lambda: logger)
        node.log = logger.lines
        node.live = LiveParameters(node, table)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def change(node, **values):
    """Set parameters one by one as `ros2 param set` does; returns whether each was accepted."""
    return [
        node.set_parameters_atomically([RosParameter(name.replace("__", "."), value=value)]).successful
        for name, value in values.items()
    ]


def test_values_given_at_start_are_in_force_and_integers_count_as_doubles(make_node):
    node = make_node(exit__tau_1=1, box=[1, 2], mode="unlimited", **{"qos_overrides./image.subscription.depth": 3})
    assert (node.live["exit.tau_1"], node.live["box"], node.live["mode"]) == (1.0, (1.0, 2.0), "unlimited")
    assert (node.live["exit.fixed"], node.live["hide"], node.log) == (3, False, [])
    assert node.get_parameter("exit.tau_1").type_ == RosParameter.Type.DOUBLE
    assert node.describe_parameter("model").read_only
    assert "One of: camera, unlimited." in node.describe_parameter("mode").description


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"exit__tau_1": 7.0}, "exit.tau_1 must be in 0.0 to 1.0, not 7.0"),
        ({"exit__tau_1": "high"}, "exit.tau_1 must be a number, not 'high'"),
        ({"exit__fixed": 2.5}, "exit.fixed must be an integer, not 2.5"),
        ({"hide": "no"}, "hide must be true or false, not 'no'"),
        ({"box": [1.0]}, "box must be 2 finite numbers, not [1.0]"),
        ({"mode": False}, "mode must be one of camera, unlimited, not 'False'"),
    ],
)
def test_a_wrong_value_at_start_is_refused_with_what_is_allowed(make_node, given, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        make_node(**given)


def test_a_misspelt_name_at_start_is_logged_with_the_nearest_name(make_node):
    node = make_node(exit__tau1=0.9, something__quite__different=1)
    assert node.log == ["there is no parameter exit.tau1; did you mean exit.tau_1?"]
    assert node.live["exit.tau_1"] == 0.5


def test_changes_are_accepted_or_refused_and_refused_ones_logged(make_node):
    node = make_node()
    changes = []
    node.live.on_change(lambda: changes.append(node.live["exit.tau_1"]))
    assert change(node, exit__tau_1=0.7, box=[3, 4], hide=True) == [True] * 3
    assert change(node, exit__tau_1=1) == [True]
    assert (node.live["exit.tau_1"], node.live["box"], node.live["hide"]) == (1.0, (3.0, 4.0), True)
    assert (changes, node.log) == ([0.7, 0.7, 0.7, 1.0], [])
    refused = {"exit__tau_1": 7.0, "exit__fixed": 2.5, "mode": "off", "box": [1.0, 2.0, 3.0], "model": "tiny"}
    for name, value in refused.items():
        assert change(node, **{name: value}) == [False]
        assert f"change of {name.replace('__', '.')} refused: " in node.log[-1]
    assert len(node.log) == len(refused)
    assert (node.live["exit.tau_1"], node.live["box"], node.live["model"]) == (1.0, (3.0, 4.0), "small")


def test_all_or_nothing(make_node):
    node = make_node()
    both = [RosParameter("exit.tau_1", value=0.9), RosParameter("mode", value="off")]
    assert not node.set_parameters_atomically(both).successful
    assert node.live["exit.tau_1"] == 0.5


def test_every_single_value_in_range_is_accepted_whatever_the_others_are(make_node):
    """So `ros2 param load` never applies half of a file."""
    node = make_node(TRACKER)
    for pick in (lambda p: p.minimum, lambda p: p.maximum, lambda p: p.default):
        for parameter in TRACKER:
            if parameter.minimum is not None and not parameter.read_only:
                assert change(node, **{parameter.name: pick(parameter)}) == [True], parameter.name
