"""Health and metrics over HTTP: what `--metrics-port` opens, on both sides.

Who serves: `server`. What a worker says: `monitoring`, with what its slots tell it: `attempts`. What a
controller says stands in `controller.health.metrics`. Only who serves imports prometheus_client: slots and
objectives do not.
"""
