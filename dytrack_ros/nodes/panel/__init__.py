"""`dytrack_panel`: a web page to mark the target. `node`, `jpeg_stream`, `parameters` and `ros_graph` use ROS; `server` does not."""
