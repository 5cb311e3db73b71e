"""`sciddiff slurm`: ready scripts for clusters."""

import shlex
from collections.abc import Callable, Sequence
from typing import Any

import click

from sciddiff.cli.predict import predict
from sciddiff.cli.train import train

WARNING_SECONDS = 120
"""Between Slurm's signal and the end of a job's time."""
PER_JOB = ("shard", "workers", "dask", "dry_run", "as_json")
"""Options of `predict` that make no sense in an array."""


@click.group()
def slurm() -> None:
    """Print a script that runs a command on a Slurm cluster.

    Save it and look at it; `bash FILE` submits the jobs. Jobs that reach their time or are preempted save their state
    and are requeued.
    """


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what is asked of Slurm."""
    options = (
        click.option("--partition", metavar="P", help="Slurm partition."),
        click.option("--time", "limit", default="04:00:00", show_default=True, metavar="T", help="Of each job."),
        click.option("--cpus-per-task", type=click.IntRange(min=1), default=8, show_default=True, metavar="N"),
        click.option("--gpus", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Per job."),
        click.option("--mem", default="16G", show_default=True, metavar="M", help="Memory of each job."),
        click.option("--job-name", metavar="NAME", help="Default: the command."),
        click.option("--setup", multiple=True, metavar="LINE", help="Shell line before the command; may be repeated."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@slurm.command("predict", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--array", type=click.IntRange(min=2), default=8, show_default=True, metavar="N", help="Shards.")
@job_options
@click.pass_context
def slurm_predict(ctx: click.Context, /, array: int, setup: tuple[str, ...], **job: Any) -> None:
    """Print the script of a job array that predicts, and of the job that joins.

    The other arguments are those of `sciddiff predict`. Every task sees the same disk and takes its shard from its
    number.
    """
    given = _parsed(predict, ctx.args)
    unfit = [name for name in PER_JOB if given[name]]
    if unfit:
        option = next(item.opts[0] for item in predict.params if item.name == unfit[0])
        raise click.UsageError(f"{option} has no place in a job array")
    joined = ["sciddiff", "assemble", str(given["output"])] + (["--overwrite"] if given["overwrite"] else [])
    name = job.pop("job_name") or "sciddiff-predict"
    body = _body(["sciddiff", "predict", *ctx.args], setup, requeued='"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"')
    click.echo(
        _script(
            [
                *_submit("array", _directives(name, **job, array=f"0-{array - 1}", log="%x-%A_%a.out"), body),
                *_submit(
                    "joining",
                    _directives(f"{name}-assemble", **{**job, "gpus": 0}, log="%x-%j.out"),
                    _body(joined, setup, requeued='"$SLURM_JOB_ID"'),
                    after="afterok:$array",
                ),
                'echo "array job $array, then $joining joins its shards"',
            ]
        )
    )


@slurm.command("train", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@job_options
@click.pass_context
def slurm_train(ctx: click.Context, /, setup: tuple[str, ...], **job: Any) -> None:
    """Print the script of a job that trains, requeued until it is done.

    The other arguments are those of `sciddiff train`.
    """
    _parsed(train, ctx.args)
    name = job.pop("job_name") or "sciddiff-train"
    body = _body(["sciddiff", "train", *ctx.args], setup, requeued='"$SLURM_JOB_ID"')
    lines = _submit("training", _directives(name, **job, log="%x-%j.out"), body)
    click.echo(_script([*lines, 'echo "training job $training"']))


def _parsed(command: click.Command, arguments: Sequence[str]) -> dict[str, Any]:
    """What a command would get, or its own refusal of what it does not know."""
    context = command.make_context(f"sciddiff {command.name}", list(arguments), resilient_parsing=False)
    return context.params


def _directives(
    name: str,
    *,
    partition: str | None,
    limit: str,
    cpus_per_task: int,
    gpus: int,
    mem: str,
    log: str,
    array: str | None = None,
) -> list[str]:
    asked = {
        "job-name": name,
        "partition": partition,
        "time": limit,
        "cpus-per-task": cpus_per_task,
        "gpus": gpus or None,
        "mem": mem,
        "array": array,
        "output": log,
        "open-mode": "append",
        "signal": f"B:USR2@{WARNING_SECONDS}",
    }
    lines = [f"#SBATCH --{key}={shlex.quote(str(value))}" for key, value in asked.items() if value is not None]
    return ["#!/bin/bash", *lines, "#SBATCH --requeue"]


def _body(command: Sequence[str], setup: Sequence[str], *, requeued: str) -> list[str]:
    """Run a command; pass the signal on; exit code 75 means: to be continued."""
    return [
        "set -u",
        'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"',
        *setup,
        f"{shlex.join(command)} &",
        "child=$!",
        "trap 'kill -USR2 \"$child\"' USR2 TERM",
        'wait "$child"; code=$?',
        'while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done',
        'if [ "$code" -eq 75 ]; then',
        f"  scontrol requeue {requeued}",
        "fi",
        'exit "$code"',
    ]


def _submit(name: str, directives: Sequence[str], body: Sequence[str], *, after: str | None = None) -> list[str]:
    dependency = f' --dependency="{after}"' if after else ""
    return [f"{name}=$(sbatch --parsable{dependency} <<'END'", *directives, *body, "END", ")"]


def _script(lines: Sequence[str]) -> str:
    return "\n".join(["#!/bin/bash", "# Submits the jobs: bash THIS_FILE", "set -euo pipefail", "", *lines])
