"""Normalizing flows: a change of variables."""
