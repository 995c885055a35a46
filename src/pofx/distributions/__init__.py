"""Distributions with a log-probability and a sampler."""
