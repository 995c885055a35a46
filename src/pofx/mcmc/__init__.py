"""Markov chain Monte Carlo over any energy."""
