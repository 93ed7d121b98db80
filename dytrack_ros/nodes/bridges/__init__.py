"""Nodes that turn other messages into `init`, or results into other messages."""
