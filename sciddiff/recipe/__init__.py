"""What the user asks for: the recipe, its YAML with line numbers, the catalogue of shipped recipes and models."""

from sciddiff.recipe.catalogue import find_model, find_recipe, sample_path, shipped_models, shipped_recipes
from sciddiff.recipe.load import load_recipe, parse_recipe, recipe_schema, to_yaml
from sciddiff.recipe.schema import (
    Data,
    Diffusion,
    Network,
    Recipe,
    Sampler,
    Source,
    Training,
)
from sciddiff.recipe.tasks import SuperResolution

__all__ = [
    "Data",
    "Diffusion",
    "Network",
    "Recipe",
    "Sampler",
    "Source",
    "SuperResolution",
    "Training",
    "find_model",
    "find_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_schema",
    "sample_path",
    "shipped_models",
    "shipped_recipes",
    "to_yaml",
]
