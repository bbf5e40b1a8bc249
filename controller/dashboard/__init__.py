"""The page: everything that `controller` can tell, live, in a browser.

Starlette serves it, and Jinja2 renders it. What it shows comes from `controller.results`, what it changes
goes through `controller.control`: neither is here. Needs the extra ``optuna-rq[dashboard]``.
"""
