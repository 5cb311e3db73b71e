"""The classical answers to the same tasks, to be beaten in every report."""
