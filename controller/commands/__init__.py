"""What a person types: one module a command group. The only room that knows a terminal."""
