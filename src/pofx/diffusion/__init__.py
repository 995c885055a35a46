"""Diffusion: denoising at every noise level."""
