"""What a program calls, in ClearML's words: the optimizer and its strategies."""
