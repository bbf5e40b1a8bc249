"""What an objective or a program imports: `Task`, `Logger` and their sessions."""
