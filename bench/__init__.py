"""Benchmarks: each prints the table that it measured."""
