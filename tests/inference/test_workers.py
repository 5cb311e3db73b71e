"""Worker processes whose parent listens no more."""

import multiprocessing

from sciddiff.inference.workers import _asked, _tell


def test_a_worker_printed_a_traceback_when_another_one_had_failed() -> None:
    ours, theirs = multiprocessing.Pipe()
    assert _asked(theirs) is None
    ours.send("SIGTERM")
    assert _asked(theirs) == "SIGTERM"
    ours.close()
    assert _asked(theirs) == "the end of the run"
    _tell(theirs, 1)
    theirs.close()
