"""The tables of parameters: sound in themselves, enforced, and the same as config/tracker.yaml."""

import re
from pathlib import Path

import pytest
import yaml
from ament_index_python.packages import get_package_share_directory

from dytrack_ros.nodes import parameters
from dytrack_ros.nodes.bridges import __main__ as bridges
from dytrack_ros.nodes.bridges.__main__ import bridges_yaml
from dytrack_ros.nodes.demo.camera_node import PARAMETERS as CAMERA
from dytrack_ros.nodes.panel.node import PARAMETERS as PANEL
from dytrack_ros.nodes.parameters import TRACKER, tracker_yaml

TABLES = {"tracker": TRACKER, "camera": CAMERA, "panel": PANEL, **bridges.TABLES}
EVERY = [pytest.param(parameter, id=parameter.name) for table in TABLES.values() for parameter in table]
RANGED = [pytest.param(parameter, id=parameter.name) for parameter in TRACKER if parameter.minimum is not None]


def defaults(table, **changes):
    return {parameter.name: parameter.default for parameter in table} | changes


@pytest.mark.parametrize("parameter", EVERY)
def test_every_parameter_is_documented_and_bounded(parameter):
    assert re.fullmatch(r"[a-z][a-z_0-9]*(\.[a-z][a-z_0-9]*)?", parameter.name)
    assert parameter.description.endswith(".")
    assert not parameter.complaint(parameter.default)
    is_number = isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool)
    assert is_number == (parameter.minimum is not None) == (parameter.maximum is not None)
    if is_number:
        assert type(parameter.minimum) is type(parameter.maximum) is type(parameter.default)


def test_names_are_unique_and_structure_is_read_only():
    for table in TABLES.values():
        assert len({parameter.name for parameter in table}) == len(table)
    fixed = {parameter.name for parameter in TRACKER if parameter.read_only}
    assert fixed == {"model", "engine", "device", "precision", "threads", "image_transport"}


@pytest.mark.parametrize(
    ("name", "text", "module"),
    [("tracker", tracker_yaml(), parameters), ("bridges", bridges_yaml(), bridges)],
)
def test_the_shipped_file_is_the_table(name, text, module):
    shipped = Path(get_package_share_directory("dytrack_ros"), "config", f"{name}.yaml")
    assert shipped.read_text() == text, (
        f"write it anew: python3 -m {module.__name__.removesuffix('.__main__')} > config/{name}.yaml"
    )


BRIDGES = [pytest.param(f"/**/{node}", bridges_yaml(), table, id=node) for node, table in bridges.TABLES.items()]


@pytest.mark.parametrize(
    ("key", "text", "table"), [pytest.param("/**", tracker_yaml(), TRACKER, id="tracker"), *BRIDGES]
)
def test_the_file_holds_every_default_with_its_type(key, text, table):
    values = yaml.safe_load(text)[key]["ros__parameters"]
    flat = {}
    for key, value in values.items():
        flat |= {f"{key}.{inner}": leaf for inner, leaf in value.items()} if isinstance(value, dict) else {key: value}
    flat = {name: tuple(value) if isinstance(value, list) else value for name, value in flat.items()}
    in_file = [parameter for parameter in table if not parameter.from_model]
    assert flat == defaults(in_file)
    assert {name: type(value) for name, value in flat.items()} == {p.name: type(p.default) for p in in_file}
