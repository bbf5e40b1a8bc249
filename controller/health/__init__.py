"""Probes and metrics of a controller."""
