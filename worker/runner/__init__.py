"""The process that runs function objectives: preload, fork, objective."""
