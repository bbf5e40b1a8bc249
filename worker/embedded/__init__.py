"""A real redis-server for users who name none: started for the first of them, ended after the last.

Public: `EmbeddedRedis`, `find_redis_server`.
"""

from __future__ import annotations

from worker.embedded.finder import find_redis_server
from worker.embedded.server import EmbeddedRedis

__all__ = ["EmbeddedRedis", "find_redis_server"]
