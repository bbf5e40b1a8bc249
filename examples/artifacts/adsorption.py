"""Where on a platinum surface does carbon monoxide stick best? Structures as artifacts, on many workers.

    pip install ase matplotlib
    python -m examples.artifacts.adsorption prepare     the surface and the molecule, into the study
    controller start examples/artifacts/adsorption.toml
    python -m examples.artifacts.adsorption draw        best_atoms.png

With REDIS_URL, OPTUNA_STORAGE and ARTIFACT_STORE set, the same on compute nodes that run `worker`.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import optuna
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.optimize import LBFGS
from optuna.artifacts import download_artifact, upload_artifact

from worker import artifact_store

STUDY = "adsorption"
LAYERS = (2, 2, 3)
"""Platinum atoms along the surface, across it, and in depth."""


def relaxed_energy(atoms: Atoms, fmax: float) -> float:
    """Move the atoms until no force exceeds `fmax` (eV/Å); returns the energy in eV."""
    atoms.calc = EMT()
    LBFGS(atoms, logfile=None).run(fmax=fmax, steps=300)
    return float(atoms.get_total_energy())


def surface() -> Atoms:
    """A slab of platinum with vacuum above it."""
    metal = bulk("Pt", cubic=True)
    spacing = float(np.mean(np.diag(metal.cell)))
    return fcc111("Pt", a=spacing, size=LAYERS, vacuum=15.0, periodic=True)


def as_text(atoms: Atoms) -> str:
    buffer = io.StringIO()
    write(buffer, atoms, format="json")
    return buffer.getvalue()


def from_text(text: str) -> Atoms:
    return read(io.StringIO(text), format="json")


class Objective:
    """The energy that adsorption sets free: the lower, the better it sticks.

    Args:
        fmax: forces at which a structure is taken for stable, in eV/Å.
    """

    def __init__(self, fmax: float) -> None:
        self.fmax = fmax

    def __call__(self, trial: optuna.Trial) -> float:
        about = trial.study.user_attrs
        slab, gas = from_text(about["slab"]), from_text(about["molecule"])
        angles = [trial.suggest_float(name, -1, 1) for name in ("phi", "theta", "psi")]
        place = [trial.suggest_float(name, 0, 0.5) for name in ("x_pos", "y_pos")]
        height = trial.suggest_float("z_hig", 1, 5)
        # Evenly over the sphere: the cosine of the tilt is what is uniform.
        gas.euler_rotate(180 * angles[0], np.degrees(np.arccos(angles[1])), 180 * angles[2])
        across = np.matmul([*place, 0], slab.cell)[:2]
        add_adsorbate(slab, gas, height, across)
        energy = relaxed_energy(slab, self.fmax)
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, f"structure-{trial.number}.json"))
            write(path, slab, format="json")
            identifier = upload_artifact(
                artifact_store=artifact_store(), file_path=path, study_or_trial=trial
            )
        trial.set_user_attr("structure", identifier)
        return energy - about["slab_energy"] - about["molecule_energy"]


objective = Objective(fmax=0.05)


def storage() -> str:
    """Optuna's storage: that of the environment, else the one that the controller makes here."""
    Path(".optuna-rq").mkdir(exist_ok=True)
    return os.environ.get("OPTUNA_STORAGE", "sqlite:///.optuna-rq/optuna.db")


def prepare() -> None:
    """Make the study, with what all its trials begin from."""
    study = optuna.create_study(
        study_name=STUDY, storage=storage(), direction="minimize", load_if_exists=True
    )
    for name, atoms in (("slab", surface()), ("molecule", molecule("CO"))):
        study.set_user_attr(f"{name}_energy", relaxed_energy(atoms, 1e-3))
        study.set_user_attr(name, as_text(atoms))


def draw() -> None:
    """Download the best structure and draw it to best_atoms.png."""
    best = optuna.load_study(study_name=STUDY, storage=storage()).best_trial
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "best.json"))
        identifier = best.user_attrs["structure"]
        download_artifact(artifact_store=artifact_store(study=STUDY), file_path=path, artifact_id=identifier)
        atoms = read(path, format="json")
    write("best_atoms.png", atoms, rotation="315x,0y,0z")
    print(f"trial {best.number}: {best.value:.3f} eV at {best.params}; drawn to best_atoms.png")


if __name__ == "__main__":
    {"prepare": prepare, "draw": draw}[sys.argv[1]]()
