"""Denoising: the law of the noise told or measured, free of the camera's unit, and the laws every task holds."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import InputError, OptionError, RecipeError
from sciddiff.evaluation.compare import compare
from sciddiff.io.image import assemble
from sciddiff.model import Model, build, load
from sciddiff.model.fit import fit_all
from sciddiff.model.request import surveyed
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import load_recipe, parse_recipe
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task, wiener
from sciddiff.tasks.denoise import Denoise
from sciddiff.training import train
from sciddiff.training.patches import draw_batch, open_scenes, read_scene

HEAD = """
version: 1
name: noise
task: {kind: denoise}
bands: [intensity]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
"""
RECIPE = HEAD + "training: {patch: 32}\n"
LAW = {"gain": (2.0,), "variance": (-150.0,)}
"""A camera of 2 ADU an electron, an offset of 100 ADU and a read noise of 3.5 electrons."""


@pytest.fixture(scope="module")
def task() -> Denoise:
    task = build_task(parse_recipe(RECIPE))
    assert isinstance(task, Denoise)
    return task


@pytest.fixture(scope="module")
def model() -> Model:
    """A network whose every weight acts."""
    model = build(parse_recipe(RECIPE))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def scene(side: int = 128) -> torch.Tensor:
    """Light from dark to bright, (1, 1, side, side), with edges."""
    field = fractal_noise((1, side, side), generator=torch.Generator().manual_seed(0), beta=2.6)[None]
    return torch.where(field > 0, 1 + field, 0.1)


def exposed(peak: float, *, side: int = 128, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """What the camera of `LAW` sees where the brightest place gives `peak` electrons; the expected image first."""
    clean = scene(side)
    electrons = clean / clean.max() * peak
    source = torch.Generator().manual_seed(seed)
    read = 3.5 * torch.randn(electrons.shape, generator=source)
    return 100 + 2 * electrons, 100 + 2 * (torch.poisson(electrons, generator=source) + read)


def image_of(values: np.ndarray, valid: np.ndarray | None = None) -> xr.DataArray:
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    seen = np.ones(values.shape, bool) if valid is None else valid
    return io.from_array(values, grid=grid, bands=["intensity"], valid=seen)


# ---- base and scale ----


def test_noise_of_the_bands_is_that_of_the_spline_wavelet() -> None:
    # Starck, Murtagh, Bijaoui 1998, Image Processing and Data Analysis, table 2.1: B3 spline in two dimensions
    roots = np.sqrt(wiener.band_noise()[:4])
    np.testing.assert_allclose(roots, [0.889, 0.200, 0.086, 0.041], atol=0.002)


def test_pure_noise_goes_and_pure_signal_stays() -> None:
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    assert wiener.smooth(noise).estimate.std() < 0.15
    strong = 1000 * scene(256)
    assert (wiener.smooth(strong).estimate - strong).square().mean() < 1


@pytest.mark.parametrize(("peak", "share"), [(20, 0.3), (200, 0.75), (2000, 0.96)])
def test_the_scale_is_the_error_of_the_base(task: Denoise, peak: float, share: float) -> None:
    clean, noisy = exposed(peak)
    obs = task.observe({"image": noisy}, LAW)
    base = task.base(obs)
    ratio = ((clean - base) / task.condition(obs, base).scale).square().mean().sqrt()
    assert 0.7 < ratio < 1.5
    assert (clean - base).square().mean() < share * (clean - noisy).square().mean()


def test_any_gain_and_offset_of_the_camera_gives_the_same(task: Denoise) -> None:
    noisy = exposed(50)[1].double()
    other = {"gain": (6.0,), "variance": (9 * -150 - 300 * 2.0,)}  # Var[3 y + 100] = 9 (a y + b) = 3 a y' + 9 b - 300 a
    one, two = task.observe({"image": noisy}, LAW), task.observe({"image": 3 * noisy + 100}, other)
    base = task.base(one)
    torch.testing.assert_close(task.base(two), 3 * base + 100)
    first, second = task.condition(one, base), task.condition(two, task.base(two))
    torch.testing.assert_close(second.scale, 3 * first.scale)
    torch.testing.assert_close(second.maps, first.maps)


def test_an_image_with_hardly_any_noise_is_kept(task: Denoise) -> None:
    clean = 1000 * scene()
    law = {"gain": (0.0,), "variance": (1.0,)}
    noisy = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    obs = task.observe({"image": noisy}, law)
    error, noise = (float((image - clean).square().mean()) for image in (task.base(obs), noisy))
    assert error < 10**0.02 * noise  # 0.2 dB
    assert (task.condition(obs, task.base(obs)).scale < 1.1).all()  # so that no network of unit spread can add much


def test_every_baseline_takes_noise_off(task: Denoise) -> None:
    clean, noisy = exposed(20, side=64)
    obs = task.observe({"image": noisy}, LAW)
    before = (noisy - clean).square().mean()
    for name, method in task.baselines().items():
        assert (method(obs) - clean).square().mean() < 0.5 * before, name


# ---- laws ----


def test_tiles_equal_the_whole_and_invalid_pixels_stay(model: Model) -> None:
    noisy = exposed(50)[1][0, :, :71, :58].numpy()
    valid = np.ones(noisy.shape, bool)
    valid[:, 20:30, 11:25] = False
    image = image_of(noisy, valid)
    whole, tiled = (
        model.predict(image, instrument=LAW, tile=tile, tolerance=None)["mean"].values for tile in (10_000, 32)
    )
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-3)
    assert np.array_equal(np.isfinite(whole), valid)


@pytest.mark.parametrize("kind", [np.uint32, np.float64])
def test_numbers_of_more_than_single_precision_are_denoised(model: Model, kind: type) -> None:
    """Such images are read in double precision, which no network has."""
    noisy = exposed(50, side=32)[1][0].numpy().round()
    single, double = (
        model.predict(image_of(values), instrument=LAW)["mean"] for values in (noisy, np.float64(kind(noisy)))
    )
    assert double.dtype == np.float64
    np.testing.assert_allclose(double.values, single.values, rtol=0, atol=0.1)


def test_samples_differ_by_what_the_noise_leaves_open(model: Model) -> None:
    image = image_of(exposed(50)[1][0].numpy())
    result = model.predict(image, instrument=LAW, steps=3, samples=4, seed=1)
    assert 0 < float(result["std"].mean()) < 20


def test_a_model_of_noise_alone_has_no_samples() -> None:
    alone = build(parse_recipe(RECIPE + "data: {train: [{path: a.tif, noisy_only: true}]}\n"))
    image = image_of(exposed(50, side=32)[1][0].numpy())
    assert set(alone.predict(image, instrument=LAW)) == {"mean"}
    for asked in ({"steps": 3}, {"steps": 3, "samples": 4}):
        with pytest.raises(OptionError, match=r"noise learned from noise alone.*steps=1.*no samples"):
            alone.predict(image, instrument=LAW, **asked)
    scored = compare(alone, image_of(exposed(50)[0][0].numpy())).scores
    assert "posterior mean" in scored
    assert "sample" not in scored


def test_an_image_without_a_law_is_refused(task: Denoise) -> None:
    blank = {"image": torch.zeros(1, 1, 8, 8)}
    with pytest.raises(OptionError, match=r"needs gain and variance.*got neither"):
        task.observe(blank)
    with pytest.raises(OptionError, match="got gain"):
        task.observe(blank, {"gain": (1.0,)})
    with pytest.raises(OptionError, match="knows no 'mtf'"):
        task.observe(blank, {**LAW, "mtf": (0.3,)})
    with pytest.raises(OptionError, match="without noise"):
        task.observe(blank, {"gain": (0.0,), "variance": (0.0,)})
    with pytest.raises(OptionError, match="one band"):
        build_task(parse_recipe(RECIPE.replace("[intensity]", "[red, green]")))


def test_the_survey_finds_the_law_of_an_image_and_of_a_stack(task: Denoise) -> None:
    planes = np.concatenate([exposed(300, side=256, seed=seed)[1][0].numpy() for seed in (1, 2)])
    known = np.ones(planes[:1].shape, bool)
    known[:, :40] = False
    holed = image_of(np.where(known, planes[:1], 1e6), known)
    wide = image_of(np.tile(planes[:1], (1, 5, 5)))  # more than one window
    for image in (
        image_of(planes[:1]),
        holed,
        wide,
        xr.DataArray(planes[None, None], dims=("band", "t", "z", "y", "x")),
    ):
        found = task.survey(image)
        clean = exposed(300, side=256)[0].numpy()
        told, true = (law["gain"][0] * clean + law["variance"][0] for law in (found, LAW))
        assert 0.8 < np.median(told / true) < 1.25


def test_many_small_frames_say_what_few_cannot(task: Denoise) -> None:
    frames = np.random.default_rng(0).poisson(50, (200, 16, 16)).astype(np.float32)
    found = task.survey(xr.DataArray(frames[None, :, None], dims=("band", "t", "z", "y", "x")))
    assert 0.8 < (found["gain"][0] * 50 + found["variance"][0]) / 50 < 1.25


def test_rounding_that_is_coarser_than_the_noise_is_warned_of(task: Denoise, tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(0.5 * scene()[0].numpy())
    for peak, kind, warned in ((1, "uint8", True), (1, "float32", False), (9, "uint8", False)):
        path = tmp_path / f"{peak}_{kind}.tif"
        tifffile.imwrite(path, (counts[0] * peak).astype(kind), metadata={"axes": "YX"}, ome=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            task.survey(io.open(path))
        assert any("less than one count" in str(each.message) for each in caught) == warned


@pytest.mark.parametrize("level", [0.0, 1e-5, 200.0, 60000.0, np.nan])
def test_a_blank_channel_is_kept_beside_others(model: Model, level: float) -> None:
    noisy = exposed(50)[1][0].numpy()
    both = np.concatenate([noisy, np.full_like(noisy, level)])
    grid = GeoBox(both.shape[1:], Affine.identity(), None)
    image = io.from_array(both, grid=grid, bands=["light", "off"], valid=np.isfinite(both))
    with pytest.warns(UserWarning, match="channel off is blank"):
        result = model.predict(image)["mean"].values
    np.testing.assert_array_equal(result[:1], model.predict(image_of(noisy))["mean"].values)
    np.testing.assert_allclose(result[1], both[1], rtol=2e-6, atol=1e-10)


def test_a_channel_without_a_law_is_named(task: Denoise) -> None:
    both = np.concatenate([exposed(50)[1][0].numpy(), np.zeros((1, 128, 128), np.float32)])
    both[1, 3, 5] = 1
    image = io.from_array(both, grid=GeoBox((128, 128), Affine.identity(), None), bands=["light", "speck"])
    with pytest.raises(InputError, match="channel speck: almost all blocks are constant"):
        task.survey(image)


@pytest.mark.parametrize(
    "told", [{"gain": (2.0,)}, {"gain": (1.6, 2.4)}, {"variance": (-150.0, -250.0)}, {"variance": (-150.0,)}]
)
def test_of_a_law_told_in_part_the_rest_is_found_in_its_light(model: Model, told: dict[str, tuple[float, ...]]) -> None:
    """However well it is told, the law is that of the image's own noise where most of its pixels are."""
    clean, noisy = (each[0].numpy() for each in exposed(300, side=256))
    image = io.from_array(
        np.concatenate([noisy, noisy + 50]), grid=GeoBox((256, 256), Affine.identity(), None), bands=["one", "lifted"]
    )
    law = surveyed(model, fit_all(model.recipe, model.task, image), model.request(instrument=told)).instrument
    assert told.items() <= law.items()
    gain, variance = (np.array(law[name]) * np.ones(2) for name in ("gain", "variance"))
    for channel in range(2):
        found = gain[channel] * (clean + 50 * channel) + variance[channel]
        assert np.median(found / (2 * clean - 150)) == pytest.approx(1, abs=0.05)


def test_nothing_is_measured_where_the_whole_law_is_told(model: Model) -> None:
    few = image_of(exposed(50, side=16)[1][0].numpy())
    with pytest.raises(InputError, match="noise needs 32"):
        model.predict(few)
    assert np.isfinite(model.predict(few, instrument=LAW)["mean"].values).all()
    with pytest.raises(OptionError, match="knows no 'mtf'"):
        model.predict(few, instrument={"mtf": (0.3,)})


# ---- simulation ----


def test_simulated_noise_has_the_law_that_is_told(task: Denoise) -> None:
    clean = 7 + 300 * scene().repeat(4, 1, 1, 1)
    for source in (None, torch.Generator().manual_seed(3)):
        obs = task.simulate(clean, source)
        truth = task.truth(clean, obs)
        expected = obs.instrument["gain"][:, None, None, None] * truth + obs.instrument["variance"][:, None, None, None]
        ratio = ((obs.inputs["image"] - truth).square() / expected).mean((1, 2, 3))
        assert ((ratio > 0.9) & (ratio < 1.1)).all()
    assert torch.equal(task.truth(clean, task.simulate(clean, None)), clean)


def test_simulations_are_keyed_and_estimated_laws_are_off_but_possible(task: Denoise) -> None:
    clean = scene(64).repeat(8, 1, 1, 1)
    first, again, other = (task.simulate(clean, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.inputs["image"], again.inputs["image"])
    assert not torch.equal(first.inputs["image"], other.inputs["image"])
    off = task.simulate(clean, torch.Generator().manual_seed(1), instrument_dropout=1.0)
    assert torch.equal(off.inputs["image"], first.inputs["image"])
    change = (off.instrument["gain"] / first.instrument["gain"]).log().abs()
    assert 0.01 < change.median() < 0.5
    assert ((off.instrument["gain"] * off.inputs["truth"].mean((1, 2, 3)) + off.instrument["variance"]) > 0).all()
    assert task.condition(off, task.base(off)).maps.isfinite().all()


def test_what_was_measured_replaces_the_simulation(task: Denoise) -> None:
    electrons = 20 + 10 * scene(256)
    noisy = torch.poisson(electrons, generator=torch.Generator().manual_seed(5))
    nothing = torch.zeros_like(noisy)
    scenes = torch.cat([scene(256), electrons, nothing]), torch.cat([nothing, noisy, noisy])
    obs = task.simulate(torch.cat(scenes, 1), torch.Generator().manual_seed(0))
    assert task.trust(obs)[:2].tolist() == [1, 1]
    assert task.trust(obs)[2] < 0.5
    image, truth = obs.inputs["image"], task.truth(scenes[0], obs)
    assert torch.equal(image[1], noisy[0])
    assert torch.equal(truth[1], electrons[0])
    assert obs.instrument["gain"][1:].tolist() == [1, 1]
    assert obs.instrument["variance"][1:].tolist() == [0, 0]
    halves = torch.stack([image[2, 0], truth[2, 0]])
    torch.testing.assert_close(halves.sum(0), noisy[0, 0])
    noise = (halves - electrons[0] / 2).flatten(1)
    assert abs(torch.corrcoef(noise)[0, 1]) < 0.03
    torch.testing.assert_close(noise.var(1) / (electrons.mean() / 2), torch.ones(2), atol=0.06, rtol=0)


# ---- training ----

SOURCES = {
    "clean": "{path: high.tif}",
    "pairs": "{path: high.tif, noisy: low.tif}",
    "split": "{path: low.tif, noisy_only: true}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    clean, noisy = exposed(60, side=160)
    io.save(image_of(0.25 * clean[0].numpy() - 11), folder / "high.tif")
    io.save(image_of(noisy[0].numpy()), folder / "low.tif")
    return folder


def recipe_of(folder: Path, source: str, name: str = "recipe") -> Recipe:
    path = folder / f"{name}.yaml"
    path.write_text(
        HEAD
        + f"data:\n  train: [{source}]\n  valid: [{{path: high.tif, noisy: low.tif}}]\n"
        + "training: {patch: 32, batch: 4, steps: 60, warmup: 5, ema: 0.9, learning_rate: 0.01, validate_every: 60}\n"
    )
    return load_recipe(path)


@pytest.mark.parametrize("kind", SOURCES)
def test_it_learns_from_clean_images_pairs_and_noise_alone(folder: Path, tmp_path: Path, kind: str) -> None:
    recipe = recipe_of(folder, SOURCES[kind], kind)
    model = load(train(recipe, tmp_path))
    scores = model.record["metrics"]["validation"]
    assert scores["mean"] > scores["linear"] + 0.05


def test_pairs_are_brought_to_one_unit_of_electrons(folder: Path) -> None:
    recipe = recipe_of(folder, SOURCES["pairs"])
    task = build_task(recipe)
    windows = draw_batch(open_scenes(recipe, task, recipe.data.train), recipe, task, step=0)
    clean, noisy = windows[:, 0], windows[:, 1]
    assert abs((noisy - clean).mean()) < 0.5
    assert 0.8 < ((noisy - clean) ** 2 / clean).mean() < 1.2  # variance = mean


def test_a_lamp_that_drifts_between_the_pictures_of_a_pair_is_not_learned(tmp_path: Path) -> None:
    clean, noisy = exposed(60, side=384)
    drift = (torch.linspace(0.8, 1.2, 384)[:, None] * clean[0] + 5).numpy()
    io.save(image_of(drift), tmp_path / "high.tif")
    io.save(image_of(noisy[0].numpy()), tmp_path / "low.tif")
    recipe = recipe_of(tmp_path, SOURCES["pairs"])
    (pair,) = open_scenes(recipe, build_task(recipe), recipe.data.train)
    assert pair.guide is not None
    electrons, own = pair.guide.values[0], pair.image.values[0]
    along = np.polyval(np.polyfit(drift.ravel(), electrons.ravel(), 1), drift[0])

    def apart(reference: np.ndarray) -> float:
        return float((electrons - reference).reshape(24, 16, 24, 16).mean((1, 3)).var())

    assert apart(own) < 0.2 * apart(along)


def test_sources_that_cannot_be_used_are_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match="a source that has a reference is a pair"):
        recipe_of(folder, "{path: high.tif, noisy: low.tif, noisy_only: true}")
    recipe = recipe_of(folder, "{path: low.tif, noisy_only: true, coarsen: [1, 2]}")
    with pytest.raises(InputError, match="averaged noise has another law"):
        open_scenes(recipe, build_task(recipe), recipe.data.train)
    io.save(image_of(np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)), folder / "small.tif")
    recipe = recipe_of(folder, "{path: high.tif, noisy: small.tif}")
    with pytest.raises(InputError, match="a pair needs the same pixels"):
        open_scenes(recipe, build_task(recipe), recipe.data.train)
    other = parse_recipe(RECIPE.replace("kind: denoise", "kind: destripe"))
    recipe = recipe_of(folder, SOURCES["split"])
    with pytest.raises(InputError, match="destripe learns from clean images"):
        open_scenes(other, build_task(other), recipe.data.train)


# ---- planes beside ----

BESIDE = "task: {kind: denoise, neighbours: {along: t, planes: 1}}"


def stack_of(values: np.ndarray, along: str = "t") -> xr.DataArray:
    """Planes (n, h, w) as a movie or a stack in depth."""
    planes = values[None, :, None] if along == "t" else values[None, None]
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    return assemble(
        planes, np.ones(planes.shape, bool), grid=grid, bands=["intensity"], dims=("band", "t", "z", "y", "x")
    )


def test_planes_beside_are_stabilised_and_flagged() -> None:
    task = build_task(parse_recipe(RECIPE.replace("task: {kind: denoise}", BESIDE)))
    assert (task.maps, task.neighbours) == (11, ("t", 1))
    clean, noisy = exposed(60)
    known = torch.stack([torch.ones(128, 128), torch.zeros(128, 128)])[None]
    given = {"image": noisy, "neighbour": torch.cat([noisy, 5 * clean], 1), "neighbour_known": known}
    obs = task.observe(given, LAW)
    maps = task.condition(obs, task.base(obs)).maps
    torch.testing.assert_close(maps[:, 7], maps[:, 0])  # the same plane again: less the same mean, over the same spread
    assert not maps[:, 8].any()
    assert torch.equal(maps[:, 9:], known)
    alone = task.observe({"image": noisy}, LAW)
    few = task.condition(alone, task.base(alone)).maps
    assert torch.equal(few[:, :7], maps[:, :7])
    assert not few[:, 7:].any()


def test_a_volume_holds_the_restored_plane_among_the_others() -> None:
    text = RECIPE.replace("task: {kind: denoise}", BESIDE)
    flat, deep = (build_task(parse_recipe(text, overrides=[f"network.dims={dims}"])) for dims in (2, 3))
    clean, noisy = exposed(60)
    known = torch.stack([torch.ones(128, 128), torch.zeros(128, 128)])[None]
    given = {"image": noisy, "neighbour": torch.cat([clean, noisy], 1), "neighbour_known": known}
    channels, volume = (task.condition(obs := task.observe(given, LAW), task.base(obs)).maps for task in (flat, deep))
    assert volume.shape[1] == deep.maps == 13
    assert torch.equal(volume[:, [*range(8), 9, 10, 12]], channels)
    assert torch.equal(volume[:, 8], volume[:, 0])  # less the same mean, over the same spread
    assert (volume[:, 11] == 1).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_tiles_equal_the_whole_and_the_ends_of_a_stack_know_that_they_are(dims: int) -> None:
    text = RECIPE.replace("task: {kind: denoise}", BESIDE.replace("along: t, planes: 1", "along: z, planes: 2"))
    model = build(parse_recipe(text, overrides=[f"network.dims={dims}"]))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    planes = np.concatenate([exposed(60, side=72, seed=seed)[1][0].numpy() for seed in range(5)])[..., :50]
    whole, tiled = (
        model.predict(stack_of(planes, "z"), instrument=LAW, steps=3, tile=tile, tolerance=None)
        for tile in (10_000, 24)
    )
    for name in ("mean", "sample"):
        np.testing.assert_allclose(tiled[name].values, whole[name].values, rtol=0, atol=1e-3)
    mean = whole["mean"].values[0, 0, 2]
    dark = np.zeros_like(planes)
    dark[2] = planes[2]

    def middle(image: xr.DataArray) -> np.ndarray:
        values = model.predict(image, instrument=LAW, tolerance=None)["mean"].values
        return values[0] if values.ndim == 3 else values[0, 0, values.shape[2] // 2]

    fewer, alone, beside_dark = map(middle, (stack_of(planes[1:4], "z"), image_of(planes[2:3]), stack_of(dark, "z")))
    assert np.array_equal(middle(stack_of(planes[2:3], "z")), alone)
    pairs = (fewer, mean), (alone, fewer), (beside_dark, alone)  # a dark plane is not one that is not there
    for one, other in pairs:
        assert np.abs(one - other).max() > 1e-3


def test_planes_beside_have_noise_of_their_own() -> None:
    task = build_task(parse_recipe(RECIPE.replace("task: {kind: denoise}", BESIDE)))
    clean = scene(128).repeat(16, 3, 1, 1)
    clean[:, 2] = 0
    obs = task.simulate(clean, None)
    noise = [(each - clean[:, :1]).flatten() for each in (obs.inputs["image"], obs.inputs["neighbour"][:, :1])]
    assert abs(torch.corrcoef(torch.stack(noise))[0, 1]) < 0.01
    assert noise[0].std() == pytest.approx(float(noise[1].std()), rel=0.02)
    assert obs.inputs["neighbour_known"].mean((0, 2, 3)).tolist() == [1, 0]
    assert not obs.inputs["neighbour"][:, 1].any()
    lost = task.simulate(clean, torch.Generator().manual_seed(0)).inputs["neighbour_known"][:, 0].mean()
    assert 0.5 < lost < 1  # some are lost, so that ends of movies and single images are learned too
    pair = torch.cat([10 * clean + 10, 10 * clean[:, :1] + 12], 1)  # in electrons, the last one measured
    pair[:, 2] = 0
    seen = task.simulate(pair, None)
    assert torch.equal(seen.inputs["image"], pair[:, 3:])
    assert torch.equal(seen.inputs["neighbour"], pair[:, 1:3])


def test_windows_of_a_movie_hold_the_planes_beside(tmp_path: Path) -> None:
    frames = np.stack([n * 100 + scene(64)[0, 0].numpy() for n in range(3)])
    io.save(stack_of(frames), tmp_path / "movie.ome.tif")
    text = HEAD.replace("task: {kind: denoise}", BESIDE) + "data: {train: [{path: movie.ome.tif}]}\n"
    (tmp_path / "r.yaml").write_text(text + "training: {patch: 64}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    task = build_task(recipe)
    scenes = open_scenes(recipe, task, recipe.data.train)
    assert len(scenes) == 3
    step = float(np.diff(np.quantile(frames[0], [0.01, 0.995]))[0])
    for scene_, before, after in zip(scenes, (False, True, True), (True, True, False)):
        window, seen = read_scene(scene_, slice(0, 64), slice(0, 64), bands=4, absolute=True)
        assert seen.all()
        np.testing.assert_allclose(window[1], window[0] - 100 / step if before else 0 * window[0], atol=1e-3)
        np.testing.assert_allclose(window[2], window[0] + 100 / step if after else 0 * window[0], atol=1e-3)
        assert not window[3].any()


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static scene taken nine times with noise, and without."""
    folder = tmp_path_factory.mktemp("movie")
    clean = exposed(30, side=96)[0]
    io.save(stack_of(np.repeat(clean[0].numpy(), 9, 0)), folder / "clean.ome.tif")
    return folder


def test_a_denoiser_that_sees_a_static_movie_errs_less(movie: Path, tmp_path: Path) -> None:
    scores = {}
    for name, task in (("alone", "task: {kind: denoise}"), ("beside", BESIDE), ("volume", BESIDE)):
        path = movie / f"{name}.yaml"
        dims = 3 if name == "volume" else 2
        path.write_text(
            HEAD.replace("task: {kind: denoise}", task)
            + "data:\n  train: [{path: clean.ome.tif}]\n"
            + "training: {patch: 32, batch: 4, steps: 150, warmup: 5, ema: 0.9, learning_rate: 0.01}\n"
        )
        model = load(train(load_recipe(path, overrides=[f"network.dims={dims}"]), tmp_path / name))
        frames = np.concatenate([exposed(30, side=96, seed=seed)[1][0].numpy() for seed in range(1, 6)])
        made = model.predict(stack_of(frames), instrument=LAW)["mean"].values[0, 1:4, 0]
        truth = exposed(30, side=96)[0][0].numpy()
        scores[name] = float(np.square(made - truth)[..., 16:-16, 16:-16].mean())
        single = model.predict(image_of(frames[:1]), instrument=LAW)["mean"].values  # an image will do, too
        assert np.isfinite(single).all()
    assert scores["beside"] < 0.8 * scores["alone"]
    assert scores["volume"] < 0.9 * scores["alone"]
