#!/bin/sh
# Train on a Slurm cluster:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]
# GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS and PYTHON may be set in the
# environment; GPUS_PER_NODE=0 asks for no GPU, and GPUS is then the number of tasks.
set -eu
[ $# -ge 4 ] || {
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]" >&2
    exit 2
}
partition=$1 job=$2 config=$3 work_dir=$4
shift 4
set -- "$(dirname "$0")/train.py" "$config" --work-dir "$work_dir" --launcher slurm "$@"
. "$(dirname "$0")/slurm.sh"
