"""Print config/bridges.yaml, made from the parameter tables of the bridges (a test compares them):

python3 -m dytrack_ros.nodes.bridges > config/bridges.yaml
"""

from dytrack_ros.nodes.bridges import init_from_detections, init_from_point, target_bearing, target_pose
from dytrack_ros.nodes.parameter_schema import as_yaml

TABLES = {
    "init_from_detections": init_from_detections.PARAMETERS,
    "init_from_point": init_from_point.PARAMETERS,
    "target_bearing": target_bearing.PARAMETERS,
    "target_pose": target_pose.PARAMETERS,
}


def bridges_yaml() -> str:
    """Return the text of config/bridges.yaml."""
    return "\n".join(as_yaml(table, f"/**/{node}", node, "dytrack_ros.nodes.bridges") for node, table in TABLES.items())


if __name__ == "__main__":
    print(bridges_yaml(), end="")
