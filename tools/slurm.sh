# Shared by slurm_train.sh and slurm_test.sh, which set partition, job and the command line.
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
if [ "$per_node" -gt 0 ]; then
    [ "$gpus" -ge "$per_node" ] || per_node=$gpus
    gres=--gres=gpu:$per_node
else
    per_node=$gpus
    gres=
fi
# SRUN_ARGS is a list of arguments, so it is left unquoted.
exec srun -p "$partition" --job-name="$job" ${gres:+"$gres"} --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$@"
