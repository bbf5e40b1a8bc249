"""Makes the bucket that ARTIFACT_STORE names, if it isn't there. For the one-shot service of compose.yaml."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def main() -> None:
    bucket = urlsplit(os.environ["ARTIFACT_STORE"]).netloc
    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10}))
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    print(f"bucket {bucket} is there")


if __name__ == "__main__":
    main()
