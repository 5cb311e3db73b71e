"""Worker processes: models that travel to them, a parent that listens no more."""

import multiprocessing
import os
import pickle
import subprocess
import sys

import pytest

import sciddiff
from sciddiff.inference.workers import _asked, _tell
from sciddiff.recipe import shipped_models


@pytest.mark.parametrize("name", list(shipped_models()))
def test_a_model_of_pan_sharpening_could_not_be_sent_to_a_worker(name: str) -> None:
    sent = sciddiff.load(name)
    assert pickle.loads(pickle.dumps(sent)).recipe == sent.recipe


def test_a_worker_printed_a_traceback_when_another_one_had_failed() -> None:
    ours, theirs = multiprocessing.Pipe()
    assert _asked(theirs) is None
    ours.send("SIGTERM")
    assert _asked(theirs) == "SIGTERM"
    ours.close()
    assert _asked(theirs) == "the end of the run"
    _tell(theirs, 1)
    theirs.close()


@pytest.mark.skipif(os.name != "posix", reason="signals to a group of processes")
@pytest.mark.parametrize("name", ["SIGUSR2", "SIGTERM"])
def test_a_signal_to_the_whole_group_made_the_tracker_of_resources_print_a_key_error(name: str) -> None:
    code = f"""
import os, signal
from multiprocessing import forkserver
from sciddiff.processes import fresh_context
came = []
signal.signal(signal.{name}, lambda *_: came.append(1))
shared = fresh_context('sciddiff.stopping').Lock()
os.killpg(0, signal.{name})
signal.sigtimedwait([], 0.2)
del shared
assert came
assert os.waitpid(forkserver._forkserver._forkserver_pid, os.WNOHANG)[0] == 0  # it lives
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True)
    assert (done.returncode, done.stderr) == (0, "")
