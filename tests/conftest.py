"""Fixtures of all tests: real servers."""

pytest_plugins = [
    "tests.redisserver",
    "tests.s3server",
    "tests.mariadb",
    "tests.postgresql",
    "tests.gcsserver",
]
