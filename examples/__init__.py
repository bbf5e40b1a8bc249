"""Objectives to try optuna-rq with, and to copy from."""
