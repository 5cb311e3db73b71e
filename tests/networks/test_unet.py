from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sciddiff.networks.unet import Slab, UNet

SIZE: dict[str, Any] = {
    "widths": [8, 12],
    "encoder_blocks": [1, 2],
    "denoiser_blocks": [1, 1],
    "stem": 2,
    "embedding": 16,
}


def maps_of(reach: int) -> int:
    """Three of the image, and values and flags of the planes of a volume."""
    return 3 + 2 * (2 * reach + 1) * (reach > 0)


def network(reach: int = 0) -> UNet:
    torch.manual_seed(0)
    net = UNet(2, maps_of(reach), 4, **SIZE, reach=reach)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return net.eval()


REACHES = pytest.mark.parametrize("reach", [0, 1, 3])


@REACHES
def test_a_window_in_gives_a_window_out(reach: int) -> None:
    encoded = network(reach).encode(torch.randn(2, maps_of(reach), 16, 24), torch.randn(2, 4))
    assert network(reach)(torch.randn(2, 2, 16, 24), torch.tensor([0.1, 1.5]), encoded).shape == (2, 2, 16, 24)


@REACHES
def test_the_radius_bounds_the_influence_of_a_pixel(reach: int) -> None:
    net = network(reach)
    side = (2 * net.radius // net.stride + 3) * net.stride
    maps, state = torch.randn(1, maps_of(reach), side, side), torch.randn(1, 2, side, side)
    moved_maps, moved_state = maps.clone(), state.clone()
    moved_maps[..., side // 2, side // 2] += 1
    moved_state[..., side // 2, side // 2] += 1
    t, numbers = torch.tensor([0.7]), torch.randn(1, 4)
    plain = net(state, t, net.encode(maps, numbers))
    moved = net(moved_state, t, net.encode(moved_maps, numbers))
    changed = (plain != moved).any(1)[0].nonzero() - side // 2
    assert 0 < changed.abs().max() <= net.radius


def test_the_radius_grows_with_the_planes_of_a_volume() -> None:
    """What a pixel of the volume alone can change, from a network that has little else."""
    size = {**SIZE, "widths": [8], "encoder_blocks": [0], "denoiser_blocks": [0]}
    found = []
    for reach in (1, 2, 3):
        net = UNet(2, maps_of(reach), 4, **size, reach=reach)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
        maps = torch.randn(1, maps_of(reach), 64, 64)
        moved = maps.clone()
        moved[:, 3:, 32, 32] += 1
        numbers = torch.zeros(1, 4)
        fine = [net.encode(each, numbers).pyramid[0] for each in (maps, moved)]
        changed = (fine[0] != fine[1]).any(1)[0].nonzero() - 16
        found.append((int(changed.abs().max()) * 2, net.radius))
    assert [far for far, _ in found] == [8, 14, 20]  # two pixels a convolution: the entering one, and three a plane
    assert len({radius - far for far, radius in found}) == 1


def test_a_slab_is_made_of_convolutions_of_three_dimensions() -> None:
    torch.manual_seed(0)
    slab = Slab(2, 4, 1, embedding=3)
    join = slab.joins[0]
    nn.init.normal_(join.weight)
    planes, embedding = torch.randn(3, 2, 2, 8, 8), torch.randn(2, 3)  # three planes of two images
    blocks = torch.stack([slab.blocks[0](slab.enter(plane), embedding) for plane in planes], 2)
    kernel = join.weight.unflatten(1, (3, 4)).transpose(1, 2)
    deep = F.conv3d(blocks, kernel, join.bias, padding=(0, 1, 1))
    assert deep.shape[2] == 1
    torch.testing.assert_close(slab(list(planes), embedding), deep[:, :, 0])


def test_each_plane_of_a_volume_counts_and_so_does_whether_it_is_known() -> None:
    net, maps = network(2), torch.randn(1, maps_of(2), 16, 16)
    plain = net.encode(maps, torch.zeros(1, 4)).pyramid[0]
    for channel in range(3, maps.shape[1]):
        other = maps.clone()
        other[:, channel] += 1
        assert (net.encode(other, torch.zeros(1, 4)).pyramid[0] - plain).abs().max() > 1e-3


@REACHES
def test_images_of_a_batch_do_not_mix(reach: int) -> None:
    net = network(reach)
    maps, state = torch.randn(3, maps_of(reach), 16, 16), torch.randn(3, 2, 16, 16)
    t, numbers = torch.tensor([0.2, 0.9, 1.5]), torch.randn(3, 4)
    together = net(state, t, net.encode(maps, numbers))
    alone = net(state[1:2], t[1:2], net.encode(maps[1:2], numbers[1:2]))
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
