"""Semantic networks as their authors publish them: random weights under their names, and their forward passes."""

import struct

import torch
from torch.nn import functional

LEVELS = {
    2: (3, (128, 128), 2, 1, 1),
    3: (3, (256, 256), 2, 1, 1),
    4: (6, (512, 512), 2, 1, 1),
    5: (3, (512, 1024), 1, 1, 2),
    6: (1, (512, 1024, 2048), 1, 4, 4),
    7: (1, (1024, 2048, 4096), 1, 4, 4),
}
"""Of ResNet-38: blocks, filters, stride of the first block, dilation of its first convolution, and of all others."""


class Weights(dict):
    """A state to be filled with random weights, statistics far from the first ones."""

    def convolution(self, name, *shape, bias=False, fan=None):
        self[f"{name}.weight"] = torch.randn(shape) * (2 / (fan or shape[1] * shape[2] * shape[3])) ** 0.5
        if bias:
            self[f"{name}.bias"] = torch.randn(shape[0] if fan is None else shape[1]) * 0.3

    def norm(self, name, width):
        self[f"{name}.weight"], self[f"{name}.bias"] = 0.4 * torch.rand(width) + 0.2, torch.randn(width) * 0.3
        self[f"{name}.running_mean"], self[f"{name}.running_var"] = torch.randn(width) * 0.3, torch.rand(width) + 0.5
        self[f"{name}.num_batches_tracked"] = torch.tensor(7)


def enet(classes):
    """The state of github.com/davidtvs/PyTorch-ENet."""
    state = Weights()

    def unit(name, number, *shape, slope=True):
        state.convolution(f"{name}.{number}", *shape)
        state.norm(f"{name}.{number + 1}", shape[0])
        if slope:
            state[f"{name}.{number + 2}.weight"] = torch.rand(1) * 0.3

    def bottleneck(name, inside, outside, kind):
        slope = not name.startswith(("upsample", "regular4", "regular5"))
        thin = inside // 4
        unit(f"{name}.ext_conv1", 0, thin, inside, *((2, 2) if kind == "down" else (1, 1)), slope=slope)
        if kind == "up":
            unit(f"{name}.main_conv1", 0, outside, inside, 1, 1, slope=False)
            state.convolution(f"{name}.ext_tconv1", thin, thin, 2, 2)
            state.norm(f"{name}.ext_tconv1_bnorm", thin)
            unit(f"{name}.ext_conv2", 0, outside, thin, 1, 1, slope=False)
            return
        if kind == "asymmetric":
            unit(f"{name}.ext_conv2", 0, thin, thin, 5, 1, slope=slope)
            unit(f"{name}.ext_conv2", 3, thin, thin, 1, 5, slope=slope)
        else:
            unit(f"{name}.ext_conv2", 0, thin, thin, 3, 3, slope=slope)
        unit(f"{name}.ext_conv3", 0, outside, thin, 1, 1, slope=slope)
        if slope:
            state[f"{name}.out_activation.weight"] = torch.rand(1) * 0.3

    state.convolution("initial_block.main_branch", 13, 3, 3, 3)
    state.norm("initial_block.batch_norm", 16)
    state["initial_block.out_activation.weight"] = torch.rand(1) * 0.3
    for name, inside, outside, kind in enet_blocks():
        bottleneck(name, inside, outside, kind)
    state.convolution("transposed_conv", 16, classes, 3, 3, fan=1)
    return dict(state)


def enet_blocks():
    """Name, channels in and out, kind ("down", "up", "regular", "asymmetric", or a dilation)."""
    yield "downsample1_0", 16, 64, "down"
    yield from ((f"regular1_{number}", 64, 64, "regular") for number in range(1, 5))
    yield "downsample2_0", 64, 128, "down"
    kinds = ["regular", 2, "asymmetric", 4, "regular", 8, "asymmetric", 16]
    for stage, first in ((2, 1), (3, 0)):
        for number, kind in enumerate(kinds, start=first):
            yield f"{'dilated' if isinstance(kind, int) else kind}{stage}_{number}", 128, 128, kind
    yield "upsample4_0", 128, 64, "up"
    yield from ((f"regular4_{number}", 64, 64, "regular") for number in (1, 2))
    yield "upsample5_0", 64, 16, "up"
    yield "regular5_1", 16, 16, "regular"


def enet_logits(state, x):
    """Its forward pass in eval mode, reading nothing but published names; sides are multiples of 8."""

    def active(name, x):
        return functional.prelu(x, state[f"{name}.weight"]) if f"{name}.weight" in state else x.relu()

    def normed(name, x):
        leaves = (state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *leaves)

    def unit(name, x, number=0, **options):
        convolved = functional.conv2d(x, state[f"{name}.{number}.weight"], **options)
        return normed(f"{name}.{number + 1}", convolved)

    first = functional.conv2d(x, state["initial_block.main_branch.weight"], stride=2, padding=1)
    x = torch.cat([first, functional.max_pool2d(x, 3, 2, 1)], 1)
    x = active("initial_block.out_activation", normed("initial_block.batch_norm", x))
    places = []
    for name, _, _, kind in enet_blocks():
        y = active(f"{name}.ext_conv1.2", unit(f"{name}.ext_conv1", x, stride=2 if kind == "down" else 1))
        if kind == "up":
            main = functional.max_unpool2d(unit(f"{name}.main_conv1", x), places.pop(), 2)
            y = functional.conv_transpose2d(y, state[f"{name}.ext_tconv1.weight"], stride=2)
            x = (main + unit(f"{name}.ext_conv2", normed(f"{name}.ext_tconv1_bnorm", y).relu())).relu()
            continue
        if kind == "asymmetric":
            y = active(f"{name}.ext_conv2.2", unit(f"{name}.ext_conv2", y, padding=(2, 0)))
            y = active(f"{name}.ext_conv2.5", unit(f"{name}.ext_conv2", y, 3, padding=(0, 2)))
        else:
            dilation = kind if isinstance(kind, int) else 1
            y = unit(f"{name}.ext_conv2", y, padding=dilation, dilation=dilation)
            y = active(f"{name}.ext_conv2.2", y)
        y = active(f"{name}.ext_conv3.2", unit(f"{name}.ext_conv3", y))
        if kind == "down":
            x, place = functional.max_pool2d(x, 2, return_indices=True)
            places.append(place)
            x = torch.cat([x, torch.zeros_like(y[:, x.shape[1] :])], 1)
        x = active(f"{name}.out_activation", x + y)
    return functional.conv_transpose2d(x, state["transposed_conv.weight"], stride=2, padding=1, output_padding=1)


ENCODER = [
    ("down", 16, 64),
    *[("same", 64, 1)] * 5,
    ("down", 64, 128),
    *[("same", 128, 2 << n) for n in (0, 1, 2, 3) * 2],
]
DECODER = [("up", 128, 64), *[("same", 64, 1)] * 2, ("up", 64, 16), *[("same", 16, 1)] * 2]


def erfnet(classes):
    """The state of github.com/Eromera/erfnet_pytorch, `module.` included."""
    state = Weights()

    def series(place, table):
        for number, (kind, inside, other) in enumerate(table):
            name = f"module.{place}.layers.{number}"
            if kind == "same":
                for pair in (1, 2):
                    state.convolution(f"{name}.conv3x1_{pair}", inside, inside, 3, 1, bias=True)
                    state.convolution(f"{name}.conv1x3_{pair}", inside, inside, 1, 3, bias=True)
                    state.norm(f"{name}.bn{pair}", inside)
            elif kind == "down":
                state.convolution(f"{name}.conv", other - inside, inside, 3, 3, bias=True)
                state.norm(f"{name}.bn", other)
            else:
                state.convolution(f"{name}.conv", inside, other, 3, 3, bias=True, fan=inside * 2)
                state.norm(f"{name}.bn", other)

    state.convolution("module.encoder.initial_block.conv", 13, 3, 3, 3, bias=True)
    state.norm("module.encoder.initial_block.bn", 16)
    series("encoder", ENCODER)
    state.convolution("module.encoder.output_conv", classes, 128, 1, 1, bias=True)
    series("decoder", DECODER)
    state.convolution("module.decoder.output_conv", 16, classes, 2, 2, bias=True, fan=0.3)
    return dict(state)


def erfnet_logits(state, x):
    """Its forward pass in eval mode, reading nothing but published names; sides are multiples of 8."""

    def normed(name, x):
        leaves = (state[f"module.{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *leaves, eps=1e-3)

    def convolved(name, x, function=functional.conv2d, **options):
        return function(x, state[f"module.{name}.weight"], state[f"module.{name}.bias"], **options)

    def down(name, x):
        both = [convolved(f"{name}.conv", x, stride=2, padding=1), functional.max_pool2d(x, 2, 2)]
        return normed(f"{name}.bn", torch.cat(both, 1)).relu()

    def up(name, x, **options):
        return convolved(name, x, functional.conv_transpose2d, stride=2, **options)

    def same(name, x, d):
        y = convolved(f"{name}.conv1x3_1", convolved(f"{name}.conv3x1_1", x, padding=(1, 0)).relu(), padding=(0, 1))
        y = normed(f"{name}.bn1", y).relu()
        y = convolved(f"{name}.conv3x1_2", y, padding=(d, 0), dilation=(d, 1)).relu()
        y = convolved(f"{name}.conv1x3_2", y, padding=(0, d), dilation=(1, d))
        return (normed(f"{name}.bn2", y) + x).relu()

    x = down("encoder.initial_block", x)
    for place, table in (("encoder", ENCODER), ("decoder", DECODER)):
        for number, (kind, _, other) in enumerate(table):
            name = f"{place}.layers.{number}"
            if kind == "same":
                x = same(name, x, other)
            elif kind == "down":
                x = down(name, x)
            else:
                x = normed(f"{name}.bn", up(f"{name}.conv", x, padding=1, output_padding=1)).relu()
    return up("decoder.output_conv", x)


def resnet38(classes, thinner=1):
    """The arrays of github.com/itijyou/ademxapp's Model A1, `arg:` and `aux:` included."""
    state = {}

    def convolution(name, *shape):
        state[f"arg:{name}_weight"] = torch.randn(shape) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5

    def norm(name, width):
        state[f"arg:{name}_gamma"], state[f"arg:{name}_beta"] = 0.4 * torch.rand(width) + 0.2, torch.randn(width) * 0.3
        state[f"aux:{name}_moving_mean"] = torch.randn(width) * 0.3
        state[f"aux:{name}_moving_var"] = torch.rand(width) + 0.5

    width = 64 // thinner
    convolution("conv1a", width, 3, 3, 3)
    for level, (blocks, filters, *_) in LEVELS.items():
        for number in range(blocks):
            block, inside = f"{level}{f'b{number}' if number else 'a'}", width
            for index, outside in enumerate(one // thinner for one in filters):
                name = f"{block}_branch2{f'b{index}' if index else 'a'}"
                norm(f"bn{name}", inside)
                convolution(f"res{name}", outside, inside, *(2 * [3 if len(filters) == 2 or index == 1 else 1]))
                inside = outside
            if not number:
                convolution(f"res{block}_branch1", inside, width, 1, 1)
            width = inside
    norm("bn7", width)
    convolution("conv6a", 512 // thinner, width, 3, 3)
    convolution(f"linear{classes}", classes, 512 // thinner, 3, 3)
    for name, size in (("conv6a", 512 // thinner), (f"linear{classes}", classes)):
        state[f"arg:{name}_bias"] = torch.randn(size) * 0.3
    return state


def resnet38_logits(state, x):
    """Its forward pass with global statistics, at stride 8, reading nothing but published names."""
    classes = next(len(tensor) for name, tensor in state.items() if name.startswith("arg:linear"))

    def normed(name, x):
        leaves = ("aux", "moving_mean"), ("aux", "moving_var"), ("arg", "gamma"), ("arg", "beta")
        values = (state[f"{kind}:{name}_{leaf}"] for kind, leaf in leaves)
        return functional.batch_norm(x, *values, eps=1.001e-5).relu()

    def convolved(name, x, stride=1, dilation=1):
        weight = state[f"arg:{name}_weight"]
        dilation = dilation if weight.shape[-1] > 1 else 1
        padding = dilation * (weight.shape[-1] // 2)
        return functional.conv2d(x, weight, state.get(f"arg:{name}_bias"), stride, padding, dilation)

    x = convolved("conv1a", x)
    for level, (blocks, filters, stride, first, others) in LEVELS.items():
        for number in range(blocks):
            block = f"{level}{f'b{number}' if number else 'a'}"
            start = normed(f"bn{block}_branch2a", x)
            y = convolved(f"res{block}_branch2a", start, 1 if number else stride, others if number else first)
            for index in range(1, len(filters)):
                y = convolved(f"res{block}_branch2b{index}", normed(f"bn{block}_branch2b{index}", y), 1, others)
            x = y + (x if number else convolved(f"res{block}_branch1", start, stride))
    x = convolved("conv6a", normed("bn7", x), 1, 12).relu()
    return convolved(f"linear{classes}", x, 1, 12)


def params(arrays, version=0):
    """MXNet's binary layout: version 0 until 0.9, 1 with long sides, 2 with the kind of storage."""
    kinds = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.uint8: 3, torch.int32: 4, torch.int64: 6}
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    for tensor in arrays.values():
        sides, count = tuple(tensor.shape), tensor.ndim
        shape = struct.pack(f"<I{count}{'Q' if version else 'I'}", count, *sides)
        parts.append((b"", struct.pack("<I", 0xF993FAC8), struct.pack("<II", 0xF993FAC9, 0))[version] + shape)
        parts.append(struct.pack("<iii", 2, 0, kinds[tensor.dtype]) + tensor.contiguous().numpy().tobytes())
    parts.append(struct.pack("<Q", len(arrays)))
    parts += [struct.pack("<Q", len(name)) + name.encode() for name in arrays]
    return b"".join(parts)
