"""The ROS half of DyTrack: the only sub-package that imports rclpy, and only in the modules that talk to the graph."""
