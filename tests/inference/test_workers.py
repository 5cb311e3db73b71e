"""Worker processes: models that travel to them, a parent that listens no more."""

import multiprocessing
import pickle

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
