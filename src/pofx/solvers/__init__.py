"""Solvers of differential equations."""
