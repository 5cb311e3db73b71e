"""A pool of simulated windows, each shown several times: where a network learns faster than windows can be simulated.

Windows come in numbered groups, each a pure function of the recipe and its number. At step k the pool holds the last
groups up to number `lead` + k, so that a run which continues fills it with what the uninterrupted one would hold.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import torch
from numpy.typing import NDArray

from sciddiff.errors import InterruptedRun, OutputError, SciddiffError
from sciddiff.processes import fresh_context, ignore_stops
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Task, build_task
from sciddiff.training.patches import Scene, draw_batch, open_scenes
from sciddiff.training.windows import Windows, generator, simulated

WINDOWS = 2048
"""Windows that a pool holds at most."""
BYTES = 2**31
"""Memory of a pool at most; large windows are fewer."""
ASKED = 2
"""Groups that a worker is asked for at once, so that it need not wait for the next."""
AHEAD = 4
"""Groups a worker that may be done before they are needed."""

Simulate = Callable[[int], Windows]
"""A group by its number, in main memory."""


class Pool:
    """The windows that are there, and the batches drawn of them.

    Parameters
    ----------
    recipe, task
        Whose windows they are.
    simulate
        Makes a group; called with ascending numbers.
    device
        Where the pool lies.
    lead
        Batches of windows that are there before the first step.
    stopped
        Whether somebody wants the filling of the pool to stop.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        simulate: Simulate,
        *,
        device: torch.device,
        lead: int,
        stopped: Callable[[], str | None],
    ):
        self.recipe, self.simulate, self.device, self.stopped = recipe, simulate, device, stopped
        batch, self.group = recipe.training.batch, group_size(recipe)
        window = 4 * recipe.training.patch**2 * (len(task.bands) + task.maps + 1)
        self.groups = max(min(WINDOWS, BYTES // window) // self.group, math.ceil(batch / self.group))
        self.lead = min(self.groups, math.ceil(lead * batch / self.group))
        self._next = 0
        self._windows: Windows | None = None

    def at(self, step: int) -> tuple[Windows, torch.Generator]:
        """The batch of a step, and the source of its further random numbers."""
        windows = self._filled(self.lead + step + 1)
        there = min(self._next, self.groups) * self.group
        order = torch.randperm(there, generator=generator(self.recipe, "shown", step, device="cpu"))
        which = order[: self.recipe.training.batch].to(self.device)
        return windows.at(which), generator(self.recipe, step, device=self.device)

    def first(self, count: int) -> Iterator[Windows]:
        """Up to so many batches, of all that is there before the first step."""
        windows, batch = self._filled(self.lead), self.recipe.training.batch
        for number in range(min(count, self.lead * self.group // batch)):
            yield windows.at(slice(number * batch, (number + 1) * batch))

    def _filled(self, end: int) -> Windows:
        """All windows, those of the last groups before `end` among them; each group has its place."""
        begin = max(self._next, end - self.groups)
        for number in range(begin, end):
            reason = self.stopped() if number > begin else None
            if reason is not None:
                raise InterruptedRun(f"stopped by {reason} while windows were simulated; the same command continues")
            found = self.simulate(number)
            if self._windows is None:
                self._windows = self._room(found)
            first = number % self.groups * self.group
            for room, each in zip(self._windows, found, strict=True):
                room[first : first + self.group] = each.to(self.device)
        self._next = end
        return cast("Windows", self._windows)

    def _room(self, like: Windows) -> Windows:
        size = self.groups * self.group
        return Windows(*(torch.empty(size, *each.shape[1:], dtype=each.dtype, device=self.device) for each in like))


def group_size(recipe: Recipe) -> int:
    """New windows in a step."""
    return math.ceil(recipe.training.batch / recipe.training.reuse)


def simulate_group(recipe: Recipe, task: Task, scenes: Sequence[Scene], number: int) -> Windows:
    """A group of windows, simulated by one thread of the CPU: more would round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        clean = draw_batch(scenes, recipe, task, step=number, count=group_size(recipe))
        return simulated(
            recipe, task, torch.from_numpy(clean.copy()), generator(recipe, "simulated", number, device="cpu")
        )
    finally:
        torch.set_num_threads(threads)


# ---- processes that simulate ----


@contextmanager
def simulating(recipe: Recipe, count: int) -> Iterator[Simulate]:
    """Processes that simulate groups ahead of the training; they end with the context.

    Parameters
    ----------
    recipe
        With data to train on.
    count
        Of the processes.

    Raises
    ------
    OutputError
        A process was killed.
    SciddiffError
        What a process met.
    """
    context = fresh_context(__name__)
    processes: dict[Connection, Any] = {}
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(recipe, theirs), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
        yield _Workers(processes)
    finally:
        for pipe, process in processes.items():
            process.kill()
            process.join()
            pipe.close()


class _Workers:
    """Asks processes for the groups that come next, and keeps what is done before it is needed."""

    def __init__(self, processes: dict[Connection, Any]):
        self.processes = processes
        self._asked = dict.fromkeys(processes, 0)
        self._next = 0
        self._done: dict[int, Windows] = {}

    def __call__(self, number: int) -> Windows:
        self._next = max(self._next, number)
        self._ask(number)
        self._receive(number, timeout=0)
        while number not in self._done:
            self._receive(number, timeout=None)
        return self._done.pop(number)

    def _ask(self, number: int) -> None:
        end = number + AHEAD * len(self.processes)
        while self._next < end:
            pipe = min(self._asked, key=lambda each: self._asked[each])
            if self._asked[pipe] == ASKED:
                return
            try:
                pipe.send(self._next)
            except OSError:
                raise self._ended(pipe) from None
            self._asked[pipe] += 1
            self._next += 1

    def _receive(self, number: int, *, timeout: float | None) -> None:
        for ready in wait(list(self.processes), timeout):
            pipe = cast("Connection", ready)
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                raise self._ended(pipe) from None
            if isinstance(message, SciddiffError):
                raise message
            self._asked[pipe] -= 1
            self._done[message[0]] = Windows(*map(torch.from_numpy, message[1]))
        self._ask(number)

    def _ended(self, pipe: Connection) -> OutputError:
        process = self.processes[pipe]
        process.join()
        return OutputError(
            f"a worker process ended with exit code {process.exitcode}, perhaps for want of memory: "
            "the same command continues from its last checkpoint, with fewer --workers if need be"
        )


def _work(recipe: Recipe, pipe: Connection) -> None:
    """What a worker process does, until nobody listens."""
    ignore_stops()
    warnings.simplefilter("ignore")  # the parent has said it all
    torch.set_num_threads(1)
    try:
        task = build_task(recipe)
        scenes = open_scenes(recipe, task, recipe.data.train)
        while True:
            number = pipe.recv()
            pipe.send((number, _arrays(simulate_group(recipe, task, scenes, number))))
    except SciddiffError as error:
        pipe.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _arrays(windows: Windows) -> list[NDArray[Any]]:
    """Copied into the pipe; tensors would need a file each."""
    return [each.numpy() for each in windows]
