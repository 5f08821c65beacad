"""What is said of priors: every output at its own prior, whatever the level."""

import torch

from apiece.parts.prior_head import PriorHead


def test_outputs_follow_maps_rows_columns_and_shapes():
    head = PriorHead(4, classes=2, priors=3, prototypes=5, norm="group")
    maps = [torch.randn(2, 4, 6, 7), torch.randn(2, 4, 3, 4)]
    said = head(maps)
    count = 3 * (6 * 7 + 3 * 4)
    assert said.logits.shape == (2, count, 3) and said.deltas.shape == (2, count, 4)
    assert said.coefficients.shape == (2, count, 5) and said.coefficients.abs().max() < 1
    features = head.layers(maps[1])[1, :, 2, 1]
    # Of the second map the prior of row 2, column 1, shape 2; kernels reach over the border, so only the middle counts.
    for name in ("classes", "background", "boxes"):
        layer = getattr(head, name)
        torch.nn.init.zeros_(layer.weight)
        layer.weight.data[:, :, 1, 1] = torch.randn(layer.weight.shape[:2])
        again = head(maps)
        values = {"classes": again.logits[..., 1:], "background": again.logits[..., :1], "boxes": again.deltas}[name]
        place = 3 * (6 * 7 + 2 * 4 + 1) + 2
        rows = layer.weight[:, :, 1, 1] @ features
        # Classes go class by class, boxes shape by shape.
        wanted = rows.view(3, -1)[2] if name == "boxes" else rows.view(-1, 3)[:, 2]
        torch.testing.assert_close(values[1, place], wanted, rtol=1e-4, atol=1e-5)


def test_all_starts_at_zero_on_average_but_for_the_draw():
    head = PriorHead(8, classes=1, priors=1, prototypes=2)
    assert all(torch.equal(layer.bias, torch.zeros_like(layer.bias)) for layer in (head.classes, head.boxes))
    limit = (6 / (9 * (8 + 1))) ** 0.5
    assert 0.8 * limit < head.classes.weight.abs().max() <= limit
