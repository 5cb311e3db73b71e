"""The cores of a run on a Dask cluster whose workers see the same disk: paths travel, pixels do not."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sciddiff.errors import InterruptedRun, OptionError
from sciddiff.model import Model

PART = 4
"""Batches in a Dask task: few enough that a lost worker costs little, many enough that opening files does not."""
RETRIES = 3


def run_dask(
    address: str,
    model: Model,
    folder: Path,
    numbers: Sequence[int],
    *,
    workers: int | None,
    batch: int,
    stop: Callable[[], str | None],
    progress: Callable[[int], None],
) -> None:
    """Compute cores on a Dask cluster; each worker process gets the model once.

    Parameters
    ----------
    address
        Of a scheduler, or `local`, or `slurm` (dask-jobqueue, configured in the user's Dask configuration).
    model, folder
        Of the run.
    numbers
        Of the cores.
    workers
        How many to start, where the cluster is started here.
    batch, stop, progress
        See `compute.compute_cores`.

    Raises
    ------
    InterruptedRun
        `stop` said so; tasks in flight are cancelled.
    OptionError
        There is no such cluster, or Dask is not installed.
    """
    from distributed import as_completed

    with _client(address, workers=workers) as client:
        shared = client.scatter(model.to("cpu"), broadcast=True, hash=False)
        size = PART * batch
        parts = [list(numbers[first : first + size]) for first in range(0, len(numbers), size)]
        futures = client.map(
            _part,
            parts,
            model=shared,
            folder=str(folder),
            batch=batch,
            device=str(model.device),
            retries=RETRIES,
            pure=False,
        )
        sizes = {future.key: len(part) for future, part in zip(futures, parts, strict=True)}
        for future in as_completed(futures):
            future.result()
            progress(sizes[future.key])
            if (name := stop()) is not None:
                client.cancel(futures)
                raise InterruptedRun(f"stopped by {name}; the same command continues")


def _part(numbers: list[int], *, model: Model, folder: str, batch: int, device: str) -> None:
    import warnings

    from sciddiff.inference.workers import run_part

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the command has said it all
        run_part(model if str(model.device) == device else model.to(device), Path(folder), numbers, batch=batch)


@contextmanager
def _client(address: str, *, workers: int | None) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise OptionError("--dask needs Dask: pip install 'sciddiff[dask]'") from error
    with ExitStack() as stack:
        if address == "local":
            cluster: Any = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        elif address == "slurm":
            client = stack.enter_context(Client(stack.enter_context(_slurm(workers))))
        else:
            try:
                client = stack.enter_context(Client(address, timeout=30))
            except (OSError, ValueError) as error:
                raise OptionError(f"--dask {address}: no scheduler answers: {error}") from error
        yield client


def _slurm(workers: int | None) -> Any:
    try:
        from dask_jobqueue import SLURMCluster  # type: ignore[attr-defined]
    except ImportError as error:
        raise OptionError("--dask slurm needs dask-jobqueue: pip install 'sciddiff[dask]'") from error
    try:
        cluster = SLURMCluster()
    except (ValueError, TypeError) as error:
        raise OptionError(f"--dask slurm: set jobqueue.slurm in the Dask configuration: {error}") from error
    cluster.scale(workers or 1)
    return cluster
