"""A real redis-server for those who name none: started on first use, gone after the last one.

Public: `EmbeddedRedis`, `find_redis_server`.
"""

from __future__ import annotations

from worker.embedded.finder import find_redis_server
from worker.embedded.server import EmbeddedRedis

__all__ = ["EmbeddedRedis", "find_redis_server"]
