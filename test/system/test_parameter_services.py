"""Every node of the package answers the parameter services, as `ros2 param` and rqt use them."""

import ast
import importlib
import inspect
import pkgutil

import pytest
import rclpy
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
from rclpy.node import Node

import dytrack_ros.nodes
from dytrack_ros.nodes.bridges.init_from_detections import PARAMETERS as DETECTIONS
from dytrack_ros.nodes.bridges.init_from_point import PARAMETERS as POINT
from dytrack_ros.nodes.demo.camera_node import PARAMETERS as CAMERA
from dytrack_ros.nodes.panel.node import PARAMETERS as PANEL
from dytrack_ros.nodes.parameters import TRACKER

# A live parameter of each node and a value that it accepts.
NODES = {
    "tracker_node": (TRACKER, "exit.tau_1", 0.25),
    "dytrack_panel": (PANEL, "max_width", 320),
    "init_from_detections": (DETECTIONS, "min_score", 0.25),
    "init_from_point": (POINT, "width", 40.0),
    "camera_node": (CAMERA, None, None),
}

# Public methods of rclpy.node.Node that a class extends on purpose; each calls the original.
EXTENDED = {"RunnableNode": {"set_parameters_atomically"}}


def description(parameter):
    """The description names the choices, because rqt_reconfigure shows only the description."""
    choices = f" One of: {', '.join(parameter.choices)}." if parameter.choices else ""
    return parameter.description + choices


@pytest.mark.parametrize("name", NODES)
def test_parameters_are_listed_described_read_and_set(graph, tiny_weights, name):
    table, changed, value = NODES[name]
    settings = {
        "tracker_node": {"model": str(tiny_weights), "engine": "torch", "threads": 1},
        "dytrack_panel": {"port": 0},
        "camera_node": {"loop": True},
    }
    process = graph.start(name, **settings.get(name, {}))
    names = [parameter.name for parameter in table]
    listed = graph.call(ListParameters, f"{name}/list_parameters", ListParameters.Request()).result.names
    assert set(names) <= set(listed)
    described = graph.call(DescribeParameters, f"{name}/describe_parameters", DescribeParameters.Request(names=names))
    assert [one.description for one in described.descriptors] == [description(parameter) for parameter in table]
    assert [one.read_only for one in described.descriptors] == [parameter.read_only for parameter in table]
    if changed:
        accepted, reason = graph.set_parameters(name, **{changed.replace(".", "__"): value})
        assert accepted, reason
        (read,) = graph.call(GetParameters, f"{name}/get_parameters", GetParameters.Request(names=[changed])).values
        assert value in (read.integer_value, read.double_value)
    refused, _ = graph.set_parameters(name, **{names[0].replace(".", "__"): [b"1"]})
    assert not refused
    assert process.exit_code is None


def node_classes():
    for module in pkgutil.walk_packages(dytrack_ros.nodes.__path__, "dytrack_ros.nodes."):
        if module.name.endswith("__main__"):
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(found, Node) and found.__module__ == module.name:
                yield found


def test_no_node_shadows_an_attribute_of_rclpys_node():
    """`self._parameters` of dytrack_panel once replaced rclpy's, and every parameter request ended the node."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=0)
    try:
        plain = rclpy.create_node("plain", context=context)
        taken = {name for name in {*vars(plain), *dir(plain)} if not name.startswith("__")}
        plain.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    classes = set(node_classes())
    assert {"PanelNode", "InitFromDetections", "CameraNode"} <= {found.__name__ for found in classes}
    for found in classes:
        tree = ast.parse(inspect.getsource(inspect.getmodule(found)))
        (body,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == found.__name__]
        stored = {
            node.attr
            for node in ast.walk(body)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
        defined = {name for name in vars(found) if not name.startswith("__")}
        shadowed = (stored | defined) & taken
        assert shadowed == EXTENDED.get(found.__name__, set()), f"{found.__name__} shadows rclpy's"
