#!/bin/bash
# Submits the jobs: bash THIS_FILE
set -euo pipefail

array=$(sbatch --parsable <<'END'
#!/bin/bash
#SBATCH --job-name=sciddiff-predict
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --array=0-7
#SBATCH --output=%x-%A_%a.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@120
#SBATCH --requeue
set -u
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
sciddiff predict sr-sentinel2-x4 scene.tif -o scene_2m5.tif &
child=$!
trap 'kill -USR2 "$child"' USR2 TERM
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
if [ "$code" -eq 75 ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
END
)
joining=$(sbatch --parsable --dependency="afterok:$array" <<'END'
#!/bin/bash
#SBATCH --job-name=sciddiff-predict-assemble
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@120
#SBATCH --requeue
set -u
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
sciddiff assemble scene_2m5.tif &
child=$!
trap 'kill -USR2 "$child"' USR2 TERM
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
END
)
echo "array job $array, then $joining joins its shards"
