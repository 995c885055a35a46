"""Metrics over capabilities."""
