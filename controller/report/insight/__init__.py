"""The sections of insight in the report, one module each: its function ``section``.

`controller.report.sections` says what a section is. A new module here is a new section.
"""
