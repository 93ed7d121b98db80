"""The demo: a camera node, its sources, a recorder."""
