"""`dytrack_panel`: a web page on which an operator marks the target. `server`, `viewers` and `gate` do not use ROS."""
