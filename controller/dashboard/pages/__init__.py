"""The pages, one module each: its ``routes``, and its ``tabs`` in the navigation.

A handler is a plain function: it runs in a thread. It asks `controller.results`, and renders a template.
"""
