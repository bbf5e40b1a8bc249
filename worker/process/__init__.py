"""Processes on one machine: channel, process tree, parent death, logging."""
