"""GPUs: watched by one process of the worker's, as a driver may hang; slots read what it has seen last."""
