"""Answers about a study: ranking, Pareto order, artifacts, status, tasks."""
