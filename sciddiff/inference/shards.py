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
    """The shard of this task in a Slurm job array, a multi-task step, or both; None outside of them."""
    number, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in environment and "SLURM_ARRAY_TASK_COUNT" in environment:
        first, step = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in _RANGE)
        number, count = (
            (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step,
            int(environment["SLURM_ARRAY_TASK_COUNT"]),
        )
    tasks = int(environment.get("SLURM_NTASKS", "1")) if "SLURM_PROCID" in environment else 1
    number, count = number * tasks + int(environment.get("SLURM_PROCID", "0")) % tasks, count * tasks
    return (number, count) if count > 1 else None


_RANGE = (("MIN", "0"), ("STEP", "1"))


def cores_of(shard: tuple[int, int] | None, count: int) -> range:
    """The cores of a shard: a run of neighbours, so that what it reads overlaps little with other shards.

    >>> [list(cores_of((i, 3), 7)) for i in range(3)]
    [[0, 1], [2, 3], [4, 5, 6]]
    """
    number, shards = shard or (0, 1)
    return range(number * count // shards, (number + 1) * count // shards)
