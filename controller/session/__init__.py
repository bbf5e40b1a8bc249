"""Opening and closing a study: lease, record, code snapshot, preflight, storage, local workers."""
