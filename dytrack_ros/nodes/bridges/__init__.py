"""Nodes that turn other messages into `init`, and the tracker's results into places and angles."""
