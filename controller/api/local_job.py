"""`LocalJob`: a job for this machine, in ClearML's words."""

from __future__ import annotations

from controller.loop.job import Job
from controller.session.local_workers import local_queue


class LocalJob(Job):
    """A job that workers of this machine run: those that this process starts for it on its first launch."""

    def launch(self, queue_name: str | None = None) -> bool:
        """As `Job.launch`, on the queue of this process' own workers; `queue_name` does not count."""
        return super().launch(local_queue(self.backend))
