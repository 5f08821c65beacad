"""A look at one place, and the places that belong to what is seen there. Our extension of recurrent segmentation.

    state of a place = features + h + is it found already                     B D H W
    rectified -> 1 x 1 convolution -> log-softmax over all places: looks      B H W, whose greatest place is looked at
    state + what is seen there + way from there, rectified -> 1 x 1 convolution: value
    value - squared distance of keys: 8 numbers out of a place's state, the first two of them added to its x and y
          - sharpness * squared distance of embeddings: 8 out of its features, likewise, taught to lie apart for objects
            apart (see `embeddings`)
          + log objectness, out of its features; added to what a look begins with, too
    what is seen there -> linear: how large it is (added to b), and whether it is an object (added to the score's logit)

In the paper a place's value comes from its own h alone, so that of objects alike each must already differ from all
others there for one to be chosen. Here a place is chosen first, as by the attention of Ren and Zemel,
https://arxiv.org/abs/1605.09410, and the others are compared with it: what is asked of them is a simpler question.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

REACH = 8
"""Places that count as a distance of one."""


class Focus(nn.Module):
    """Values of places by comparison with what lies at one of them.

    Args:
        features: channels of the network's features.
        width: R, channels of the memory.
        coarse: places of features to a side of one of the memory.
        hidden: channels of a place's state.
        keys: dimensions in which places of one object come to lie together.
    """

    def __init__(self, features: int, width: int, coarse: int = 2, hidden: int = 32, keys: int = 8):
        super().__init__()
        self.coarse = coarse
        self.here = nn.Conv2d(features, hidden, 1)
        self.memory = nn.Conv2d(width, hidden, 1, bias=False)
        self.found = nn.Conv2d(1, hidden, 1, bias=False)
        self.look = nn.Conv2d(hidden, 1, 1, bias=False)
        self.seen = nn.Linear(hidden, hidden, bias=False)
        self.way = nn.Conv2d(3, hidden, 1, bias=False)
        self.value = nn.Conv2d(hidden, 1, 1, bias=False)
        self.key = nn.Conv2d(hidden, keys, 1, bias=False)
        self.spread = nn.Parameter(torch.tensor(2.0))
        self.embedding = nn.Conv2d(features, keys + 1, 1)
        self.embedding_spread = nn.Parameter(torch.tensor(3.0))
        self.sharpness = nn.Parameter(torch.tensor(0.0))
        self.kind = nn.Linear(hidden, 2)
        with torch.no_grad():
            # What is near and what is far shall count from the beginning.
            self.way.weight.uniform_(-1, 1)
            self.kind.weight.zero_()
            self.kind.bias.zero_()

    def begin(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B _ H W"]:
        """What is the same at each step: of the state, then embeddings and objectness."""
        embedded = self.embedding(features)
        embedded = torch.cat([embedded[:, :2] + self.embedding_spread * _places(features), embedded[:, 2:]], 1)
        return torch.cat([self.here(features), embedded], 1)

    def embedded(self, begun: Float[Tensor, "B _ H W"]) -> tuple[Float[Tensor, "B E H W"], Float[Tensor, "B H W"]]:
        """Embeddings and the logits of belonging to an object."""
        own = begun[:, self.here.out_channels :].float()
        return own[:, :-1], own[:, -1]

    def forward(
        self,
        begun: Float[Tensor, "B _ H W"],
        h: Float[Tensor, "B R h w"],
        told: Float[Tensor, "B 1 H W"],
        valid: Bool[Tensor, "B H W"],
    ) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B H W"], Float[Tensor, "B 2"]]:
        """Values of places, log-probabilities of where it looks, what b and the score gain by what is there.

        Args:
            begun: of `begin`.
            h: of the memory.
            told: what is found already.
            valid: the places that lie in the image.
        """
        memory = self.memory(h)
        if self.coarse > 1:
            memory = functional.interpolate(memory, scale_factor=self.coarse, mode="bilinear")
        embeddings, objectness = self.embedded(begun)
        state = begun[:, : self.here.out_channels] + memory + self.found(told)
        active = state.relu()
        certain = functional.logsigmoid(objectness)
        looks = self.look(active)[:, 0].float() + certain
        looks = looks.masked_fill(~valid, -torch.inf).flatten(1).log_softmax(1)
        place = looks.argmax(1)
        images = torch.arange(len(place), device=place.device)
        there = active.flatten(2)[images, :, place]
        places = _places(begun)
        other = embeddings.flatten(2)[images, :, place][:, :, None, None]
        likeness = certain - self.sharpness.exp() * (embeddings - other).square().sum(1)
        way = places - places.flatten(1)[:, place].T[:, :, None, None]
        near = self.way(torch.cat([way, way.square().sum(1, keepdim=True)], 1))
        values = self.value((state + near + self.seen(there)[:, :, None, None]).relu())[:, 0]
        keys = self.key(active) - self.key(there[:, :, None, None])
        apart = torch.cat([keys[:, :2] + self.spread * way, keys[:, 2:]], 1).square().sum(1)
        return (values - apart).float() + likeness, looks.view_as(valid), self.kind(there).float()


def _places(like: Float[Tensor, "B _ H W"]) -> Float[Tensor, "2 H W"]:
    """x and y of places, in distances."""
    rows, columns = (torch.arange(side, device=like.device) / REACH for side in like.shape[2:])
    return torch.stack(torch.broadcast_tensors(columns, rows[:, None]))
