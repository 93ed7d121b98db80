"""Readers of public data sets and of training shards; ``registry.py`` knows them all."""
