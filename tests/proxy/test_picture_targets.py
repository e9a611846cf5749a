import torch

from halosearch.proxy.data.picture_targets import CELLS, DENSE, QUADRANTS, SIDE, picture_targets


def pictures(count=6, size=64):
    """Smooth pictures, so that a size is as good as another."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


def groups(images):
    return dict(zip([g.name for g in DENSE], picture_targets(images).split([g.width for g in DENSE], 1), strict=True))


def test_all_groups_are_there_and_finite():
    found = picture_targets(pictures())
    assert found.shape == (6, sum(group.width for group in DENSE))
    assert torch.isfinite(found).all()


def test_a_picture_means_the_same_at_another_size():
    small, large = picture_targets(pictures(size=SIDE)), picture_targets(pictures(size=4 * SIDE))
    assert (small - large).abs().max() < 0.05


def test_mirroring_moves_what_has_a_place_and_turns_directions():
    seen, mirrored = groups(pictures()), groups(pictures().flip(3))
    assert torch.allclose(seen["colours"], mirrored["colours"], atol=1e-5)
    for name, cells in (("small picture", CELLS), ("edges", CELLS)):
        there = seen[name].unflatten(1, (-1, cells, cells)).flip(3).flatten(1)
        assert torch.allclose(there, mirrored[name], atol=1e-5)
    turned = seen["edge directions"].unflatten(1, (4, QUADRANTS, QUADRANTS)).flip(3)
    sign = torch.tensor([1.0, -1, 1, -1])[:, None, None]  # cosines of even multiples stay, sines turn
    assert torch.allclose((turned * sign).flatten(1), mirrored["edge directions"], atol=1e-5)


def test_stripes_have_one_direction():
    row = ((torch.arange(64) // 8) % 2 * 255).to(torch.uint8)
    standing, lying = row.expand(1, 3, 64, 64), row[:, None].expand(1, 3, 64, 64)
    for image, sign in ((standing, 1), (lying, -1)):
        double = groups(image)["edge directions"].unflatten(1, (4, -1))[:, 0]
        assert (sign * double > 0.02).all()
