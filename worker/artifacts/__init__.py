"""Artifacts: files and objects that tasks save, in a folder or a bucket.

`save` stores one and returns its description, `fetch` brings it back verified, `load` turns it into the
object it was made from. Nothing is ever pickled.
"""

from worker.artifacts.entry import Entry
from worker.artifacts.meta import ArtifactMeta
from worker.artifacts.protocol import ArtifactStore, ArtifactStoreUnavailable, NoSuchObject
from worker.artifacts.stored import StoredObject
from worker.artifacts.stores import open_store
from worker.artifacts.transfer import fetch, load, save

__all__ = [
    "ArtifactMeta",
    "ArtifactStore",
    "ArtifactStoreUnavailable",
    "Entry",
    "NoSuchObject",
    "StoredObject",
    "fetch",
    "load",
    "open_store",
    "save",
]
