"""Normalizing flows: their steps, transforms and networks."""
