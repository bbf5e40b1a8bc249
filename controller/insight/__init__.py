"""What a study's records say: why a trial is as it is, when the study ends, who wins, what matters.

Each module answers one question, as values, from the store or from a study's file; terminal, page and
report show them.
"""
