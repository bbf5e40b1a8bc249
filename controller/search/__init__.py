"""Ask, tell, prune: the only room that talks to Optuna's samplers and pruners."""
