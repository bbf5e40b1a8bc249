"""Measurements beside a reference, in one run: see README.md in this folder."""
