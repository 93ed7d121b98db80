"""Readers of public data sets, and training shards."""
