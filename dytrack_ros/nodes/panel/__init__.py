"""`dytrack_panel`: a page in the browser on which an operator points at the target. Only `node`, `tracker_link` and
`pictures` talk to the graph; `server` and what it uses know nothing of ROS."""
