"""A look at one place, and the comparison of the others with it."""

import numpy as np
import pytest
import torch

from apiece.parts.focus import REACH, Focus


def given(size: tuple[int, int] = (6, 10), coarse: int = 2):
    torch.manual_seed(0)
    focus = Focus(3, 4, coarse)
    begun, h = focus.begin(torch.randn(2, 3, *size)), torch.randn(2, 4, *(side // coarse for side in size))
    return focus, begun, h, torch.zeros(2, 1, *size), torch.ones(2, *size, dtype=torch.bool)


def test_what_lies_beyond_an_image_is_not_looked_at():
    focus, begun, h, told, valid = given()
    valid[0, 3:], valid[0, :, 4:] = False, False
    _, looks, _ = focus(begun, h, told, valid)
    assert not looks[~valid].exp().any()
    np.testing.assert_allclose(looks.exp().sum((1, 2)).detach(), 1, rtol=1e-5)


def test_without_anything_learned_places_are_compared_by_their_distance():
    focus, begun, h, told, valid = given()
    with torch.no_grad():
        focus.key.weight.zero_()
        focus.value.weight.zero_()
        focus.embedding.weight.zero_()
        focus.embedding.bias.zero_()
    begun = focus.begin(torch.randn(2, 3, 6, 10))
    values, looks, gain = focus(begun, h, told, valid)
    row, column = np.mgrid[:6, :10]
    for image in range(2):
        y, x = divmod(int(looks[image].argmax()), 10)
        # 2 and 3 to a distance of one, by keys and by embeddings; an object there as likely as not
        expected = -(4 + 9) * ((row - y) ** 2 + (column - x) ** 2) / REACH**2 - np.log(2)
        np.testing.assert_allclose(values[image].detach(), expected, rtol=1e-5, atol=1e-6)
    assert not gain.any()


def test_no_place_lies_nearer_than_the_one_that_is_looked_at():
    focus, begun, h, told, valid = given()
    with torch.no_grad():
        focus.value.weight.zero_()
        begun[:, -1] = 100  # surely an object's
    values, looks, _ = focus(begun, h, told, valid)
    for image in range(2):
        assert values[image].flatten()[looks[image].argmax()].item() == pytest.approx(0, abs=1e-9)
        assert values[image].max() < 1e-9 and values[image].min() < -0.5


def test_what_is_no_objects_is_neither_looked_at_nor_seen():
    focus, begun, h, told, valid = given()
    nowhere = torch.zeros(6, 10, dtype=torch.bool)
    nowhere[:, :7] = True
    begun[:, -1] = torch.where(nowhere, -30.0, 0.0)
    values, looks, _ = focus(begun, h, told, valid)
    assert (looks[:, nowhere].exp() < 1e-9).all()
    assert (values[:, nowhere] < values[:, ~nowhere].amin(1, keepdim=True)).all()


def test_what_is_found_already_changes_where_it_looks():
    focus, begun, h, told, valid = given()
    with torch.no_grad():
        focus.look.weight.fill_(1)
        focus.found.weight.fill_(-100)
    place = focus(begun, h, told, valid)[1][0].argmax()
    told[0, 0].view(-1)[place] = 1
    assert focus(begun, h, told, valid)[1][0].argmax() != place


@pytest.mark.parametrize("coarse", [1, 2])
def test_every_weight_has_a_gradient(coarse):
    focus, begun, h, told, valid = given(coarse=coarse)
    told += 0.5
    values, looks, gain = focus(begun, h, told, valid)
    (values.square().sum() + looks[:, 0, 0].sum() + gain.square().sum() + gain.sum()).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in focus.parameters())
