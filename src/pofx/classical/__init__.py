"""Yardsticks fitted in closed form: the baselines that every comparison prints."""
