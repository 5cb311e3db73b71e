"""What all tasks agree on about their baselines."""

import pytest

from sciddiff.recipe import load_recipe
from sciddiff.recipe.catalogue import shipped_recipes
from sciddiff.tasks import LINEAR, build_task


@pytest.mark.parametrize("name", shipped_recipes())
def test_cheap_baselines_exist_and_the_base_goes_by_one_name(name: str) -> None:
    """Pan-sharpening once called its base otherwise than the rest, and trainings named opponents task by task."""
    task = build_task(load_recipe(shipped_recipes()[name]))
    names = set(task.baselines())
    assert task.cheap
    assert set(task.cheap) <= names
    assert "base" not in names
    assert LINEAR in names or task.cheap == ("cloud_tests",)
