"""Nodes that turn other messages into `init`."""
