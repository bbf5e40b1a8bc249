"""The one place that names the version; the distribution's metadata must agree (a test holds this)."""

__version__ = "0.1.0"
