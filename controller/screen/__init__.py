"""How answers look to a person: on a terminal and in a notebook."""
