#!/bin/sh
# Evaluate on a Slurm cluster:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
# With the config of an exported model (compact.py, or dcff_compact_*.py) the fourth argument may be
# the work dir instead, whose export/compact.pth is then taken. For the environment see
# slurm_train.sh.
set -eu
[ $# -ge 4 ] || {
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT|WORK_DIR [arguments of test.py]" >&2
    exit 2
}
partition=$1 job=$2 config=$3 target=$4
shift 4
case $target in
    *.pth | *.pt | *.ckpt) ;;
    *) set -- "$@" --work-dir "$target" && target= ;;
esac
set -- "$(dirname "$0")/test.py" "$config" ${target:+"$target"} --launcher slurm "$@"
. "$(dirname "$0")/slurm.sh"
