"""Recipes: what is read, what is refused, and how well the refusal says where and why."""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciddiff.errors import RecipeError
from sciddiff.recipe import Recipe, load_recipe, parse_recipe, recipe_schema, shipped_models, shipped_recipes, to_yaml

SMALL = """\
version: 1
name: small
task: {kind: super_resolution, ratio: 2}
bands: [red, nir]
optional_bands: [nir]
data:
  train:
    - scenes/*.tif
    - path: one.tif
      bands: [3, null]
training:
  patch: 64
"""


def faults_of(text: str, *overrides: str) -> list[str]:
    """Return the lines of the refusal after the first, which counts them."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, name="r.yaml", overrides=overrides)
    count, *faults = str(caught.value).splitlines()
    assert count == f"r.yaml has {len(faults)} fault{'s' if len(faults) > 1 else ''}:"
    return faults


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_is_valid_and_survives_a_round_trip(name: str):
    recipe = load_recipe(shipped_recipes()[name])
    assert recipe.name == name.replace("_", "-") or recipe.task.kind == "synthesis"  # named by what it makes
    assert recipe.description
    assert parse_recipe(to_yaml(recipe)) == recipe


def test_every_shipped_model_has_its_recipe():
    assert set(shipped_models()) <= {load_recipe(path).name for path in shipped_recipes().values()}


def test_three_typos_are_all_reported_with_line_and_column(tmp_path: Path):
    path = tmp_path / "typos.yaml"
    text = SMALL.replace("ratio", "ratoi").replace("patch", "pacth").replace("version: 1", "versoin: 1")
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 2
    first, *faults = str(caught.value).splitlines()
    assert first == f"{path} has 3 faults:"
    positions = [fault.removeprefix(f"{path}:").partition(": ") for fault in faults]
    assert [(place, rest.partition(":")[0]) for place, _, rest in positions] == [
        ("1:1", "versoin"),
        ("3:32", "task.ratoi"),
        ("12:3", "training.pacth"),
    ]
    endings = [fault.rpartition("; ")[2] for fault in faults]
    assert endings == ["did you mean 'version'?", "did you mean 'ratio'?", "did you mean 'patch'?"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "bands: [red, nir]",
            "bands: [red, nir]\nnetwork: {stem: 2, dims: 3}",
            "r.yaml:5:26: network.dims: got 3, expected 2: the task super_resolution sees no planes beside the "
            "restored one",
        ),
        (
            "task: {kind: super_resolution, ratio: 2}",
            "task: {kind: denoise}\nnetwork: {dims: 3}",
            "r.yaml:4:17: network.dims: got 3, expected 2, or planes for the volume: task.neighbours, such as "
            "{along: z, planes: 1}",
        ),
        ("ratio: 2", "ratio: two", "r.yaml:3:39: task.ratio: got 'two', expected a whole number"),
        ("ratio: 2", "ratio: 17", "r.yaml:3:39: task.ratio: got 17, expected 16 or less"),
        ("ratio: 2", "ratio: 2, mtf: {red: 1.5}", "r.yaml:3:53: task.mtf.red: got 1.5, expected a number below 1"),
        (
            "ratio: 2",
            "ratio: 2, sensor: sentinel",
            "r.yaml:3:50: task.sensor: got 'sentinel', expected 'generic', 'sentinel2', 'landsat8', 'quickbird', "
            "'ikonos', 'geoeye1', 'worldview2', 'worldview3', 'worldview4' or 'gaofen2'; did you mean 'sentinel2'?",
        ),
        (
            "ratio: 2",
            "ratio: 2, noise: [0.1, 0.01]",
            "r.yaml:3:49: task.noise: got [0.1, 0.01], expected the smaller number first",
        ),
        (
            "ratio: 2",
            "ratio: 2, mtf: {blue: 0.3}",
            "r.yaml:3:47: task.mtf: got blue, expected names out of bands: red, nir",
        ),
        ("[3, null]", "[3, 3]", "r.yaml:10:14: data.train.1.bands: got 3 more than once, expected each once"),
        ("[nir]", "[nir, swir]", "r.yaml:5:17: optional_bands: got swir, expected names out of bands: red, nir"),
        (
            "[nir]",
            "[nir, red]",
            "r.yaml:5:17: optional_bands: got every band, expected at least one band that an image must have",
        ),
        ("[3, null]", "[3]", "r.yaml:10:14: data.train.1.bands: got 1 bands, expected 2: red, nir"),
        (
            "[3, null]",
            "[null, 3]",
            "r.yaml:10:14: data.train.1.bands: got null for red, expected null only for optional_bands",
        ),
        ("[3, null]", "[3, 0]", "r.yaml:10:18: data.train.1.bands.1: got 0, expected 1 or more"),
        (
            "patch: 64",
            "patch: 60",
            "r.yaml:12:10: training.patch: got 60, expected a multiple of 8 (task.ratio 2 and the network's stride 8): "
            "64",
        ),
        (
            "patch: 64",
            "warmup: 30000",
            "r.yaml:12:11: training.warmup: got 30000, expected at most training.steps = 20000",
        ),
        ("patch: 64", "ema: .nan", "r.yaml:12:8: training.ema: got nan, expected a finite number"),
        ("patch: 64", "patch: 64\n  patch: 32", "r.yaml:13:3: training.patch: got the key again, expected it once "
         "(first on line 12)"),
        ("patch: 64", "patch: yes", "r.yaml:12:10: training.patch: got 'yes', expected a whole number"),
        ("patch: 64", "patch: true", "r.yaml:12:10: training.patch: got true, expected a whole number"),
        ("  patch: 64", "", "r.yaml:11:1: training: got nothing, expected a mapping"),
        (
            "name: small",
            "name: Small Thing",
            "r.yaml:2:7: name: got 'Small Thing', expected lower-case letters, digits, single dashes and underscores",
        ),
        ("version: 1", "version: 2", "r.yaml:1:10: version: got 2, expected 1"),
        ("name: small\n", "", "r.yaml:1:1: name: got nothing, expected name: lower-case letters, digits, single dashes "
         "and underscores"),
    ],
)  # fmt: skip
def test_a_fault_says_where_what_and_what_instead(old: str, new: str, fault: str):
    assert old in SMALL
    assert faults_of(SMALL.replace(old, new, 1)) == [fault]


def test_what_is_no_yaml_says_where():
    assert faults_of("name: [a\nbands: b\n")[0].startswith("r.yaml:2:6: not YAML: while parsing a flow sequence")


def test_an_empty_text_names_what_is_needed():
    assert [fault.split(": ")[1] for fault in faults_of("")] == ["version", "name", "task", "bands"]


def test_objects_of_a_language_are_not_made():
    (fault,) = faults_of(SMALL.replace("name: small", "name: small\nseed: !!python/name:os.system ''"))
    assert fault.startswith("r.yaml:3:7: seed: got the tag tag:yaml.org,2002:python/name:os.system")


def test_an_alias_within_itself_ends():
    assert "more than 20 levels" in "\n".join(faults_of(SMALL + "network: &n {widths: *n}\n"))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_a_recipe_error(tmp_path: Path, content: bytes | None):
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"cannot be read as a recipe: (not UTF-8 text|No such file)"):
        load_recipe(path)


def test_overrides_set_values_in_lists_and_in_sections_that_were_not_written():
    recipe = parse_recipe(
        SMALL, overrides=["training.patch=32", "data.train.1.weight=2.5", "network.widths=[16, 24, 32]", "seed=7"]
    )
    assert (recipe.training.patch, recipe.data.train[1].weight, recipe.seed) == (32, 2.5, 7)
    assert recipe.network.widths == [16, 24, 32]
    assert recipe.data.train[1].bands == [3, None]


def test_the_faults_of_overrides_are_reported_with_those_of_the_file():
    faults = faults_of(
        SMALL.replace("patch", "pacth"), "training.ema=2", "tranining.steps=5", "nonsense", "data.train.9.weight=1"
    )
    assert faults == [
        "r.yaml:12:3: training.pacth: got an unknown key, expected one of start, steps, batch, reuse, patch, "
        "learning_rate, warmup, ema, weight_decay, validate_every, checkpoint_every, clip; did you mean 'patch'?",
        "--set nonsense: got 'nonsense', expected KEY=VALUE such as training.steps=100",
        "--set data.train.9.weight=1: data.train.9.weight: got the item 9 of a list, expected a number from 0 to 1",
        "--set training.ema=2: training.ema: got 2, expected a number below 1",
        "--set tranining.steps=5: tranining: got an unknown key, expected one of version, name, description, task, "
        "bands, optional_bands, data, network, diffusion, sampler, training, seed; did you mean 'training'?",
    ]


def test_the_schema_describes_every_key():
    schema = recipe_schema()
    undescribed = [
        f"{title}.{key}"
        for title, section in [("Recipe", schema), *schema["$defs"].items()]
        for key, value in section["properties"].items()
        if not value.get("description")
    ]
    assert undescribed == []
    assert schema["additionalProperties"] is False


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse_recipe(SMALL).seed = 3  # type: ignore[misc]


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
slugs = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
bands = st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Draw any recipe that passes the checks."""
    names = draw(bands)
    levels = draw(st.integers(1, 3))
    positive = st.floats(1e-12, 1e12)
    low, high = sorted((draw(positive), draw(positive)))
    own = st.none() | st.just([index + 1 for index in range(len(names))])
    source = st.fixed_dictionaries({"path": texts.filter(bool), "bands": own, "weight": positive})
    return Recipe.model_validate(
        {
            "version": 1,
            "name": draw(slugs),
            "description": draw(texts),
            "task": {"kind": "super_resolution", "ratio": 2, "noise": [low, high], "mtf": dict.fromkeys(names, 0.3)},
            "bands": names,
            "optional_bands": names[1:],
            "data": {"train": draw(st.lists(source, max_size=2))},
            "network": {"widths": [8] * levels, "encoder_blocks": [1] * levels, "denoiser_blocks": [0] * levels},
            "diffusion": {"sigma_median": draw(positive), "regression_share": draw(st.floats(0, 1))},
            "training": {"patch": 16 * draw(st.integers(1, 8)), "learning_rate": draw(st.floats(1e-9, 1))},
            "seed": draw(st.integers(0, 2**63 - 1)),
        }
    )


@settings(max_examples=60, deadline=None)
@given(recipes())
def test_what_is_written_as_yaml_is_read_back_as_the_same(recipe: Recipe):
    assert parse_recipe(to_yaml(recipe)) == recipe


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80) | st.text("[]{}:,-&*!|>'\"\n ab1#", max_size=60))
def test_no_text_does_more_than_a_recipe_error(text: str):
    with pytest.raises(RecipeError):
        parse_recipe(text)
