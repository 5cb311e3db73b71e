import pytest
import torch

from sciddiff.networks.unet import UNet, shuffle, unshuffle


def network(dims: int = 2) -> UNet:
    torch.manual_seed(0)
    net = UNet(2, 3, 4, widths=[8, 12], encoder_blocks=[1, 2], denoiser_blocks=[1, 1], stem=2, embedding=16, dims=dims)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return net.eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_shuffle_inverts_unshuffle(dims: int) -> None:
    x = torch.randn(1, 3, *[8] * dims)
    assert torch.equal(shuffle(unshuffle(x, 2), 2), x)


@pytest.mark.parametrize("dims", [2, 3])
def test_shapes_in_two_and_three_dimensions(dims: int) -> None:
    net = network(dims)
    size = [16] * dims
    encoded = net.encode(torch.randn(2, 3, *size), torch.randn(2, 4))
    assert net(torch.randn(2, 2, *size), torch.tensor([0.1, 1.5]), encoded).shape == (2, 2, *size)


def test_the_radius_bounds_the_influence_of_a_pixel() -> None:
    net = network()
    side = (2 * net.radius // net.stride + 3) * net.stride
    maps, state = torch.randn(1, 3, side, side), torch.randn(1, 2, side, side)
    moved_maps, moved_state = maps.clone(), state.clone()
    moved_maps[..., side // 2, side // 2] += 1
    moved_state[..., side // 2, side // 2] += 1
    t, numbers = torch.tensor([0.7]), torch.randn(1, 4)
    plain = net(state, t, net.encode(maps, numbers))
    moved = net(moved_state, t, net.encode(moved_maps, numbers))
    changed = (plain != moved).any(1)[0].nonzero() - side // 2
    assert 0 < changed.abs().max() <= net.radius


def test_images_of_a_batch_do_not_mix() -> None:
    net = network()
    maps, state = torch.randn(3, 3, 16, 16), torch.randn(3, 2, 16, 16)
    t, numbers = torch.tensor([0.2, 0.9, 1.5]), torch.randn(3, 4)
    together = net(state, t, net.encode(maps, numbers))
    alone = net(state[1:2], t[1:2], net.encode(maps[1:2], numbers[1:2]))
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
