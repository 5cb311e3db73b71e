import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.physics import cloud, fractal
from sciddiff.physics.cloud import CLEAR, SHADOW, THICK, THIN, Clouds, Geometry

WAVES = [0.49, 0.56, 0.665, 0.842, 1.61]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(b: int = 4, side: int = 48) -> Tensor:
    return 0.02 + 0.3 * torch.rand((b, len(WAVES), side, side), generator=seeded(5))


def draw(seed: int = 0, **options: object) -> tuple[Tensor, Clouds]:
    clean = scene()
    return clean, cloud.draw_clouds(clean, WAVES, generator=seeded(seed), **options)


# Height over GSD is 100 pixels: where sun and sensor stand, and where the shadow then lies from the cloud's image.
@pytest.mark.parametrize(
    ("sun", "view", "expected"),
    [
        ((45, 180), (0, 0), (-100, 0)),  # sun in the south: shadow to the north
        ((45, 0), (0, 0), (100, 0)),
        ((45, 90), (0, 0), (0, -100)),  # sun in the east: shadow to the west
        ((45, 270), (0, 0), (0, 100)),
        ((0, 180), (45, 90), (0, 100)),  # seen from the east, the cloud's image leans west of its shadow
        ((45, 180), (45, 180), (0, 0)),  # seen from where the sun is, it hides its shadow
        ((60, 225), (0, 0), (-100 * 3**0.5 / 2**0.5, 100 * 3**0.5 / 2**0.5)),
    ],
)
def test_where_the_shadow_falls(
    sun: tuple[float, float], view: tuple[float, float], expected: tuple[float, float]
) -> None:
    geometry = Geometry(
        sun_zenith=sun[0], sun_azimuth=sun[1], view_zenith=view[0], view_azimuth=view[1], gsd=10.0, height=1000.0
    )
    assert cloud.displacement(geometry).tolist() == pytest.approx(expected, abs=1e-9)


def test_geometry_of_many_scenes() -> None:
    many = Geometry(sun_zenith=torch.tensor([45.0, 0.0]), sun_azimuth=180.0, gsd=20.0, height=1000.0)
    torch.testing.assert_close(
        cloud.displacement(many), torch.tensor([[-50.0, 0.0], [0.0, 0.0]], dtype=torch.float64), rtol=0, atol=1e-9
    )
    assert cloud.penumbra(many).item() == pytest.approx(1000 * math.tan(math.radians(0.27)) / 20)


@given(down=st.integers(-6, 6), along=st.integers(-6, 6))
@settings(max_examples=25, deadline=None)
def test_whole_shifts_copy_the_field(down: int, along: int) -> None:
    field = torch.rand((1, 30, 32), generator=seeded())
    shift = torch.tensor([[down, along]], dtype=torch.float64)
    got = fractal.displaced(field, shift, origin=torch.tensor([[8, 9]]), size=(11, 12))
    assert torch.equal(got, field[:, 8 - down : 19 - down, 9 - along : 21 - along])


@given(down=st.floats(-6, 6), along=st.floats(-6, 6))
@settings(max_examples=25, deadline=None)
def test_parts_of_pixels_are_exact_on_a_plane(down: float, along: float) -> None:
    rows, cols = torch.meshgrid(torch.arange(30.0), torch.arange(32.0), indexing="ij")
    plane = (3 * rows + cols)[None].double()
    shift = torch.tensor([[down, along]], dtype=torch.float64)
    got = fractal.displaced(plane, shift, origin=torch.tensor([[8, 9]]), size=(11, 12))
    torch.testing.assert_close(got, plane[:, 8:19, 9:21] - 3 * down - along, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [(9.0, 0.0), (-12.0, 0.0), (0.0, 9.5), (0.0, -11.5)])
def test_nothing_wraps_round(shift: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match="too small"):
        fractal.displaced(
            torch.zeros(1, 30, 32), torch.tensor([shift]).double(), origin=torch.tensor([[8, 9]]), size=(11, 12)
        )


@given(
    shift=st.lists(st.tuples(st.floats(-60, 60), st.floats(-60, 60)), min_size=1, max_size=3), margin=st.integers(1, 5)
)
@settings(max_examples=25, deadline=None)
def test_the_field_is_large_enough_for_every_shift(shift: list[tuple[float, float]], margin: int) -> None:
    way = torch.tensor(shift, dtype=torch.float64)
    size, origin = fractal.field_layout(way, (10, 14), margin=margin)
    field = torch.rand((len(shift), *size), generator=seeded())
    for each in (way, 0 * way):
        assert fractal.displaced(field, each, origin=origin, size=(10, 14)).shape == (len(shift), 10, 14)


def test_one_cloud_and_its_shadow() -> None:
    alpha = torch.zeros(1, 100, 80)
    alpha[0, 50:60, 30:40] = 1
    shift = torch.tensor([[-20.25, 6.5]], dtype=torch.float64)
    origin = torch.tensor([[20, 20]])
    for blur in (0.0, 1.5):
        shadow = cloud.cast_shadow(alpha, shift, blur=torch.tensor([blur]), origin=origin, size=(40, 40))[0]
        rows, cols = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
        assert shadow.sum().item() == pytest.approx(100, rel=1e-4)
        assert ((shadow * rows).sum() / 100).item() == pytest.approx(54.5 - 20 - 20.25, abs=1e-3)
        assert ((shadow * cols).sum() / 100).item() == pytest.approx(34.5 - 20 + 6.5, abs=1e-3)


def test_the_opacity_covers_what_it_should() -> None:
    field = fractal.fractal_noise((3, 60, 70), generator=seeded(), beta=3.0)
    visible = field[:, 10:50, 5:65]
    cover = torch.tensor([0.0, 0.3, 1.0])
    alpha = cloud.opacity(field, cover=cover, softness=0.2, peak=0.9, visible=visible)
    share = (alpha[:, 10:50, 5:65] > 0).float().mean((1, 2))
    torch.testing.assert_close(share, cover, rtol=0, atol=1e-3)
    assert alpha.amax().item() == pytest.approx(0.9)
    step = cloud.opacity(
        torch.tensor([[[0.0, 0.05, 0.1, 0.2]]]), cover=1.0, softness=0.2, peak=1.0, visible=torch.zeros(1, 1, 1)
    )
    assert step.flatten().tolist() == pytest.approx([0, 0.15625, 0.5, 1])


def test_fading_cuts_at_the_floor_and_leaves_the_rest() -> None:
    values = torch.tensor([0.0, 0.05, 0.075, 0.1, 0.6])
    assert fractal.fade(values, 0.05).tolist() == pytest.approx([0, 0, 0.05, 0.1, 0.6])


def test_opacity_by_band_from_the_optical_thickness() -> None:
    alpha = torch.tensor([0.0, 0.3, 0.9, 1.0]).double().reshape(1, 1, 2, 2)
    grey = cloud.spectral_opacity(alpha, [0.49, 1.61])
    torch.testing.assert_close(grey, alpha.expand(1, 2, 2, 2), rtol=0, atol=1e-5)
    steep = cloud.spectral_opacity(alpha, [0.55, 1.10], exponent=torch.tensor([1.0]))
    torch.testing.assert_close(steep[:, 0], grey[:, 0])
    assert steep[0, 1, 0, 1].item() == pytest.approx(1 - 0.7**0.5)
    assert torch.equal(steep[0, :, 0, 0], torch.zeros(2).double())


def test_the_composite_by_hand() -> None:
    clean = torch.tensor([0.2, 0.4]).reshape(1, 2, 1, 1)
    alpha, shadow = torch.tensor([0.25]).reshape(1, 1, 1, 1), torch.tensor([0.5]).reshape(1, 1, 1, 1)
    light = torch.tensor([0.6, 0.7]).reshape(1, 2, 1, 1)
    got = cloud.composite(clean, alpha, shadow=shadow, light=light, diffuse=torch.tensor([0.35, 0.05]))
    blue = 0.2 * (1 - 0.5 * 0.65) * 0.75 + 0.6 * 0.25
    swir = 0.4 * (1 - 0.5 * 0.95) * 0.75 + 0.7 * 0.25
    assert got.flatten().tolist() == pytest.approx([blue, swir])


def test_the_diffuse_share_falls_with_the_wavelength() -> None:
    assert cloud.diffuse_share([0.4825, 0.5625, 0.655, 0.865, 2.2]) == pytest.approx([0.35, 0.25, 0.18, 0.12, 0.05])
    assert cloud.diffuse_share([0.443, 0.76]) == pytest.approx([0.35, 0.15])


def test_classes_by_their_thresholds() -> None:
    alpha = torch.tensor([0.0, 0.0, 0.01, 0.5, 0.51, 0.9])
    shadow = torch.tensor([0.0, 0.01, 0.9, 0.0, 0.0, 0.9])
    assert cloud.classify(alpha, shadow).tolist() == [CLEAR, SHADOW, THIN, THIN, THICK, THICK]


@pytest.mark.parametrize("seed", range(6))
def test_the_masks_partition_the_image_exactly(seed: int) -> None:
    clean, drawn = draw(seed, gsd=30.0)
    classes = drawn.classes[:, None]
    assert drawn.classes.dtype == torch.uint8
    assert sum(int((classes == each).sum()) for each in (CLEAR, THIN, THICK, SHADOW)) == classes.numel()
    clear = (classes == CLEAR).expand_as(clean)
    assert torch.equal(drawn.cloudy[clear], clean[clear])
    assert (drawn.cloudy != clean).any(1, keepdim=True)[classes != CLEAR].float().mean() > 0.99
    assert (drawn.alpha[classes == THICK] > 0.5).all()
    assert ((drawn.alpha[classes == THIN] > 0) & (drawn.alpha[classes == THIN] <= 0.5)).all()
    assert (drawn.shadow[classes == SHADOW] > 0).all()
    shaded = (classes == SHADOW).expand_as(clean)
    assert (drawn.cloudy[shaded] <= clean[shaded]).all()


def test_all_classes_come_up() -> None:
    found = torch.cat([draw(seed, gsd=30.0)[1].classes.flatten() for seed in range(6)]).unique()
    assert found.tolist() == [CLEAR, THIN, THICK, SHADOW]


def test_one_seed_is_one_field() -> None:
    one, two, other = (draw(seed)[1] for seed in (3, 3, 4))
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(one.alpha, other.alpha)
    assert torch.equal(draw_nominal().cloudy, draw_nominal().cloudy)


def draw_nominal() -> Clouds:
    return cloud.draw_clouds(scene(), WAVES, generator=None)


def test_the_shadow_is_the_cloud_displaced() -> None:
    geometry = Geometry(sun_zenith=45.0, sun_azimuth=180.0, gsd=100.0, height=1000.0)
    _, drawn = draw(1, geometry=geometry, cirrus=0.0)
    cast, alpha = drawn.shadow[:, :, :-10], drawn.alpha[:, :, 10:]
    assert torch.corrcoef(torch.stack((cast.flatten(), alpha.flatten())))[0, 1] > 0.98


def test_cirrus_is_thin_and_casts_faint_shadows() -> None:
    _, drawn = draw(2, cirrus=1.0)
    assert not (drawn.classes == THICK).any()
    assert drawn.alpha.max() <= 0.5
    assert drawn.shadow.max() <= 0.5


def test_a_long_shift_is_shortened_to_where_the_windows_part() -> None:
    shift = torch.tensor([[-2000.0, 500.0], [-30.0, 10.0]])
    got = fractal.nearest_apart(shift, (128, 128), margin=10)
    assert got.tolist() == [[-148, 37], [-30, 10]]


def test_a_measured_reflectance_and_diffuse_share_are_taken() -> None:
    clean = scene()
    options = {"geometry": Geometry(sun_zenith=45.0, sun_azimuth=180.0, gsd=100.0), "cover": (0.9, 0.9), "cirrus": 0.0}
    black = cloud.draw_clouds(clean, WAVES, generator=seeded(), reflectance=[0.0] * 5, diffuse=[1.0] * 5, **options)
    torch.testing.assert_close(black.cloudy, clean * (1 - black.alpha), rtol=1e-4, atol=1e-5)


def test_clouds_let_gradients_through() -> None:
    clean = scene().requires_grad_()
    drawn = cloud.draw_clouds(clean, WAVES, generator=seeded())
    drawn.cloudy.sum().backward()
    assert clean.grad is not None
    assert clean.grad.isfinite().all()
    assert (clean.grad[(drawn.classes == CLEAR)[:, None].expand_as(clean)] == 1).all()
