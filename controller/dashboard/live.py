"""``/live``: tells an open page that something has changed, at most once a second.

One task looks for all pages that are open, in a thread, and asks Redis a few short questions for each study
that is looked at. With no page open, nothing is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from controller.dashboard.site import Site
from worker.protocol import Store, keys
from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import OptunaRQError

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""Between two looks."""
KEEP_ALIVE_S = 15.0
"""Longest silence on a stream: proxies end those that say nothing."""
RETRY_MS = 1000
"""After which a browser asks again when the stream has broken."""
MAX_STUDIES = 100
"""Studies that a page of all of them follows: the newest."""


@dataclass(frozen=True)
class Topic:
    """What a page looks at: a study, a task of it, or with neither, all studies and workers."""

    study: str = ""
    task: str = ""


class Changes:
    """Looks for changes while somebody listens, and tells each listener of its own.

    Args:
        site: whose store is looked at.
        every_s: seconds between two looks.
    """

    def __init__(self, site: Site, every_s: float = EVERY_S) -> None:
        self._site = site
        self._every_s = every_s
        self._queues: dict[asyncio.Queue[tuple[str, str]], Topic] = {}
        self._seen: dict[Topic, str] = {}
        self._log_ends: dict[str, int] = {}
        self._away = ""
        self._looking: asyncio.Task[None] | None = None
        self._ended = False

    async def listen(self, topic: Topic) -> AsyncGenerator[tuple[str, str], None]:
        """What happens: ``hello``, ``change``, ``away`` with a reason, ``back``; an empty kind in silence."""
        queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(maxsize=4)
        self._queues[queue] = topic
        try:
            yield ("away", self._away) if self._away else ("hello", "")
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_on())
            while not self._ended:
                try:
                    yield await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
                except asyncio.TimeoutError:
                    yield "", ""
        finally:
            del self._queues[queue]

    def end(self) -> None:
        """End all streams: the server ends."""
        self._ended = True
        for queue in self._queues:
            _put(queue, ("", ""))
        if self._looking is not None:
            self._looking.cancel()

    async def _look_on(self) -> None:
        try:
            while self._queues:
                topics = set(self._queues.values())
                try:
                    found = await to_thread.run_sync(self._look, topics)
                except Exception:
                    log.exception("the page can't look for changes")
                    found = self._seen
                self._tell(found)
                await asyncio.sleep(self._every_s)
        finally:
            self._looking = None
            self._seen = {}
            self._log_ends = {}

    def _look(self, topics: set[Topic]) -> Mapping[Topic, str] | str:
        """A fingerprint of each topic; a string says why Redis can't be asked."""
        try:
            store = self._site.store
            return {topic: fingerprint(store, topic, self._log_ends) for topic in topics}
        except redis.RedisError as error:
            return trouble(error)
        except OptunaRQError as error:
            return str(error)

    def _tell(self, found: Mapping[Topic, str] | str) -> None:
        if isinstance(found, str):
            if found != self._away:
                self._away = found
                for queue in self._queues:
                    _put(queue, ("away", found))
            return
        if self._away:
            self._away = ""
            for queue in self._queues:
                _put(queue, ("back", ""))
        for queue, topic in self._queues.items():
            # What a page showed when it was opened may be older than the first look.
            if topic in found and self._seen.get(topic) != found[topic]:
                _put(queue, ("change", ""))
        self._seen = dict(found)


def fingerprint(store: Store, topic: Topic, log_ends: dict[str, int]) -> str:
    """Something that differs when what a page shows may differ.

    Args:
        log_ends: task id → how much of its output is known; updated.
    """
    if topic.study or topic.task:
        studies = [topic.study] if topic.study else []
    else:
        studies = store.studies.names()[:MAX_STUDIES]
    workers = sorted(store.redis.smembers(keys.WORKERS)) if not topic.task else []
    with store.redis.pipeline(transaction=False) as pipe:
        for study in studies:
            pipe.xrevrange(keys.events(study), count=1)
            pipe.xrevrange(keys.study_log(study), count=1)
            pipe.hgetall(keys.study(study))
            pipe.exists(keys.study_lock(study))
            pipe.zcard(keys.study_tasks(study))
            pipe.zrange(keys.study_touched(study), -1, -1, withscores=True)
            pipe.get(keys.study_request(study))
        if topic.task:
            pipe.hgetall(keys.task(topic.task))
            pipe.hgetall(keys.scalars(topic.task))
            pipe.hgetall(keys.artifacts(topic.task))
        answers = pipe.execute(raise_on_error=False)
        for worker in workers:
            pipe.hgetall(keys.worker(worker))
        registrations = pipe.execute(raise_on_error=False)
    for answer in (*answers, *registrations):
        # Others say that a key is spoiled, which the page shows.
        if isinstance(answer, redis.RedisError) and can_pass(answer):
            raise answer
    passed_over = _ALWAYS_NEW if not topic.study else (*_ALWAYS_NEW, "gpus")
    seen = [
        {key: value for key, value in one.items() if key not in passed_over}
        for one in registrations
        if isinstance(one, dict)
    ]
    end = 0
    if topic.task:
        _, end = store.logs.read(topic.task, log_ends.get(topic.task, 0))
        log_ends[topic.task] = end
    text = repr((studies, answers, workers, seen, end))
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


_ALWAYS_NEW = ("seen",)
"""Of a worker's registration, what each renewal changes."""


def _put(queue: asyncio.Queue[tuple[str, str]], message: tuple[str, str]) -> None:
    # A page that doesn't read is told once: it loads all of it again anyway.
    with contextlib.suppress(asyncio.QueueFull):
        queue.put_nowait(message)


def live_route(changes: Changes) -> Route:
    """The route ``/live``, with ``?study=NAME`` and ``?task=ID`` to hear of these alone."""

    async def live(request: Request) -> Response:
        topic = Topic(request.query_params.get("study", ""), request.query_params.get("task", ""))

        async def text() -> AsyncIterator[str]:
            async with contextlib.aclosing(changes.listen(topic)) as messages:
                yield f"retry: {RETRY_MS}\n\n"
                async for kind, reason in messages:
                    yield f"event: {kind}\ndata: {_data(reason)}\n\n" if kind else ": still here\n\n"

        headers: dict[str, Any] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(text(), media_type="text/event-stream", headers=headers)

    return Route("/live", live, name="live")


def _data(reason: str) -> str:
    return json.dumps({"reason": reason} if reason else {})
