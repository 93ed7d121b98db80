"""Speed of engines and trackers on this machine."""
