#!/usr/bin/env bash
# Records studies with the product itself, as files of `controller export` beside this script.
#
#   bash benchmarks/studies/record.sh                     all of them
#   bash benchmarks/studies/record.sh digits models       some
#
# Needs scikit-learn; boosting needs LightGBM; curves needs LCDB, the rows of one data set of the file
# database-accuracy.csv in the package lcdb (pip download --no-deps lcdb), header included.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
for name in "${@:-digits models boosting curves}"; do
  for study in $name; do
    folder=$(mktemp -d)
    cp "$here/$study.py" "$here/$study.toml" "$folder"
    (
      cd "$folder"
      controller start "$study.toml" --workers 2 --format json | tail -n 1
      controller export "$study" --to "$here/$study.study.gz" --force
    )
    rm -rf "$folder"
  done
done
