"""Estimates of log p(x), each per example and with its error, and what they say of a model."""
