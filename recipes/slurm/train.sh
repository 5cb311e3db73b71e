#!/bin/bash
# Submits the jobs: bash THIS_FILE
set -euo pipefail

training=$(sbatch --parsable <<'END'
#!/bin/bash
#SBATCH --job-name=sciddiff-train
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=8
#SBATCH --gpus=1
#SBATCH --mem=16G
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@120
#SBATCH --requeue
set -u
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
sciddiff train sr_sentinel2_x4 -o run &
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
echo "training job $training"
