"""Which of scikit-learn's models suits the wine data set: each has parameters of its own."""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits


def train(task: Any, model: str, seed: int, **own: Any) -> float:
    """The accuracy over five folds. Raises scikit-learn's error for a penalty that a solver doesn't know."""
    x, y = load_wine(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    with threadpool_limits(1):
        scores = cross_val_score(classifier(model, **own), x, y, cv=folds, error_score="raise")
    return float(scores.mean())


def classifier(model: str, **own: Any) -> Any:
    if model == "svm":
        return make_pipeline(StandardScaler(), SVC(C=own["c"], gamma=own["gamma"]))
    if model == "forest":
        return RandomForestClassifier(
            n_estimators=own["trees"], max_depth=own["depth"], max_features=own["features"], random_state=1
        )
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(C=own["strength"], penalty=own["penalty"], solver=own["solver"], max_iter=200),
    )
