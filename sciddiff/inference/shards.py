"""Which cores a process takes: all, or shard i of n, by hand or as Slurm numbers its tasks."""

import re
from collections.abc import Mapping

from sciddiff.errors import OptionError


def parse_shard(text: str) -> tuple[int, int]:
    """Number and count of `i/n`; n/n is 0/n, so that counting from 0 and from 1 both reach every shard.

    >>> parse_shard("3/4"), parse_shard("4/4")
    ((3, 4), (0, 4))

    Raises
    ------
    OptionError
        It says something else.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if found is None or not int(found[2]) > 0 or int(found[1]) > int(found[2]):
        raise OptionError(f"--shard {text}: expected i/n with i from 0 to n - 1, or from 1 to n, such as 2/8")
    number, count = int(found[1]), int(found[2])
    return number % count, count


def slurm_shard(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The shard of this task in a Slurm job array, a step of several tasks, or both; None outside of them.

    A batch script of a job with several tasks runs once: only what `srun` starts is one of several.

    Raises
    ------
    OptionError
        The numbers of the array have gaps, so that it cannot be told which of the shards this is.
    """
    number, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in environment and "SLURM_ARRAY_TASK_COUNT" in environment:
        number, count = _of_array(environment)
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1")) if "SLURM_PROCID" in environment else 1
    number, count = number * tasks + int(environment.get("SLURM_PROCID", "0")) % tasks, count * tasks
    return (number, count) if count > 1 else None


def _of_array(environment: Mapping[str, str]) -> tuple[int, int]:
    first, step = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in _RANGE)
    task, count = (int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "COUNT"))
    last = int(environment.get("SLURM_ARRAY_TASK_MAX", first + (count - 1) * step))
    if last != first + (count - 1) * step or (task - first) % step or not first <= task <= last:
        raise OptionError(
            f"the job array has {count} tasks from {first} to {last} with gaps, so task {task} cannot tell its shard: "
            "pass --shard i/n with the n of the first array"
        )
    return (task - first) // step, count


_RANGE = (("MIN", "0"), ("STEP", "1"))


def cores_of(shard: tuple[int, int] | None, count: int) -> range:
    """The cores of a shard: a run of neighbours, so that what it reads overlaps little with other shards.

    >>> [list(cores_of((i, 3), 7)) for i in range(3)]
    [[0, 1], [2, 3], [4, 5, 6]]
    """
    number, shards = shard or (0, 1)
    return range(number * count // shards, (number + 1) * count // shards)
