"""The sections of the page "Insight", one module each: its ``section``, and its template.

`controller.dashboard.sections` says what a section is. A new module here is a new section.
"""
