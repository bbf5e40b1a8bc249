"""Optuna on a compute node: trials as objectives written for Optuna know them. Imported only for those."""
