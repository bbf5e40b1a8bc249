"""Whole studies: export and import, copies, rewind, sampler checkpoints."""
