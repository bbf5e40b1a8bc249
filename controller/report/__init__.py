"""The report: one file that shows a study without a server."""
