"""Measuring trackers on sequences with known truth. Needs no ROS."""
