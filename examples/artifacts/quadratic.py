"""An objective written for Optuna that saves a file with each trial; nothing in it is optuna-rq's.

On one machine, with SQLite and a folder:

    controller start examples/artifacts/quadratic.toml
    python -m examples.artifacts.quadratic

On several, with MySQL and S3: set these on the head node and on each compute node, then the same.

    OPTUNA_STORAGE=mysql+pymysql://USER:PASSWORD@HOST/DATABASE
    S3_ENDPOINT=https://HOST  S3_BUCKET=NAME  AWS_ACCESS_KEY_ID=…  AWS_SECRET_ACCESS_KEY=…
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import optuna
from optuna.artifacts import (
    Boto3ArtifactStore,
    FileSystemArtifactStore,
    download_artifact,
    upload_artifact,
)


def open_artifacts() -> Boto3ArtifactStore | FileSystemArtifactStore:
    """The bucket that the environment names, else ./artifacts."""
    if "S3_ENDPOINT" not in os.environ:
        Path("artifacts").mkdir(exist_ok=True)
        return FileSystemArtifactStore(base_path="./artifacts")
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=os.environ["S3_ENDPOINT"],
        config=Config(connect_timeout=30, read_timeout=30),
    )
    return Boto3ArtifactStore(os.environ["S3_BUCKET"], client)


artifact_store = open_artifacts()


def objective(trial: optuna.Trial) -> float:
    """(x - 2)², with a file that says how it came to be."""
    x = trial.suggest_float("x", -10, 10)
    value = (x - 2) ** 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"trial-{trial.number}.txt")
        path.write_text(f"({x} - 2)² = {value}\n")
        artifact_id = upload_artifact(
            artifact_store=artifact_store, file_path=str(path), study_or_trial=trial
        )
    trial.set_user_attr("artifact_id", artifact_id)
    return value


def main() -> None:
    """Print the best trial's file."""
    storage = os.environ.get("OPTUNA_STORAGE", "sqlite:///.optuna-rq/optuna.db")
    study = optuna.load_study(study_name="quadratic", storage=storage)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "best.txt"))
        identifier = study.best_trial.user_attrs["artifact_id"]
        download_artifact(artifact_store=artifact_store, file_path=path, artifact_id=identifier)
        print(f"trial {study.best_trial.number}: {Path(path).read_text()}", end="")


if __name__ == "__main__":
    main()
