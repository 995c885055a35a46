"""Autoregressive models: the chain rule."""
