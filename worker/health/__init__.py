"""Health and metrics over HTTP: what `--metrics-port` opens, on both sides.

Who serves: `server`. What a worker says: `monitoring`, with what its slots tell it: `attempts`. What a
controller says stands in `controller.metrics`. prometheus_client is imported by whoever serves, not by slots
and objectives.
"""
