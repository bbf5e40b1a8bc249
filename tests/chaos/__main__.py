"""``python -m tests.chaos``: many studies under fire; prints a table, exits with 1 if anything did not hold."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.killer import VICTIMS, Chaos


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60, help="of each study")
    parser.add_argument("--kills", type=int, default=25, help="in each study")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        "| seed | trials | attempts | " + " | ".join(VICTIMS) + " | at once | seconds | holds |", flush=True
    )
    print("|" + "---|" * (len(VICTIMS) + 6), flush=True)
    failed = kills = 0
    for seed in range(options.seed, options.seed + options.studies):
        with tempfile.TemporaryDirectory(prefix="orq-chaos-") as folder:
            report = Chaos(Path(folder), seed, options.trials, options.kills).run(600)
        kills += sum(report.kills.values())
        failed += bool(report.problems)
        killed = " | ".join(str(report.kills[victim]) for victim in VICTIMS)
        holds = "yes" if not report.problems else "NO"
        print(
            f"| {seed} | {report.trials} | {report.attempts} | {killed} | {report.at_once} | {report.seconds:.0f} | {holds} |",
            flush=True,
        )
        for problem in report.problems:
            print(f"  {problem}", file=sys.stderr, flush=True)
    print(f"{kills} kills, {failed} of {options.studies} studies with problems")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
