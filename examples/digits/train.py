"""Trains the digits model and exports it: what made `digits_resnet.fp32.onnx`, or makes one like it.

    pip install scikit-learn torch onnx
    python examples/digits/train.py OUTPUT_FOLDER

A ResNet of 1.65 M parameters on scikit-learn's digits, upscaled bilinearly from 8×8 to 64×64. The last 500 of a
fixed permutation are held out (`digits_eval.npz`), 200 of the others are for calibration. A few minutes on a GPU,
an hour on two cores. Accuracy on the held-out images is about 0.995.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sloctl.cli._digits import upscale

if TYPE_CHECKING:
    import onnx
    import torch

STEM = 64
BLOCKS = ((64, 1), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (128, 2), (128, 1))  # channels out, stride
CLASSES = 10
HELD_OUT, CALIBRATION = 500, 200
EPOCHS, BATCH, RATE = 30, 64, 1e-3
Weights = dict[str, NDArray[np.float32]]


def convolutions() -> Iterator[tuple[str, int, int, int, int]]:
    """Name, channels in and out, kernel and stride of each convolution."""
    yield "stem.conv", 1, STEM, 3, 1
    channels = STEM
    for index, (out, stride) in enumerate(BLOCKS):
        yield f"block{index}.conv1", channels, out, 3, stride
        yield f"block{index}.conv2", out, out, 3, 1
        if stride != 1 or channels != out:
            yield f"block{index}.shortcut", channels, out, 1, stride
        channels = out


def network() -> "torch.nn.Module":
    """The model as it is trained: every convolution followed by a batch normalisation."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = {
                name.replace(".", "_"): nn.Sequential(
                    nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after)
                )
                for name, before, after, kernel, stride in convolutions()
            }
            self.layers = nn.ModuleDict(layers)
            self.fc = nn.Linear(BLOCKS[-1][0], CLASSES)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            x = self.layers["stem_conv"](x).relu()
            for index in range(len(BLOCKS)):
                name = f"block{index}_"
                inner = self.layers[name + "conv2"](self.layers[name + "conv1"](x).relu())
                shortcut = self.layers[name + "shortcut"](x) if name + "shortcut" in self.layers else x
                x = (inner + shortcut).relu()
            return self.fc(x.mean(dim=(2, 3)))

    return Net()


def train(images: NDArray[np.float32], labels: NDArray[np.integer]) -> "torch.nn.Module":
    """Trains on images [N, 1, 64, 64] in 0..1 and labels [N]; returns the model in evaluation mode."""
    import torch

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = network().to(device)
    x, y = torch.from_numpy(images).to(device), torch.from_numpy(labels.astype(np.int64)).to(device)
    steps = -(-len(x) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE * 4, epochs=EPOCHS, steps_per_epoch=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for part in torch.randperm(len(x), device=device).tensor_split(steps):
            batch = shifted(x[part])
            loss = torch.nn.functional.cross_entropy(net(batch), y[part], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d} of {EPOCHS}: loss {total / steps:.4f}", flush=True)
    return net.eval()


def shifted(batch: "torch.Tensor", most: int = 4) -> "torch.Tensor":
    """The batch moved by up to `most` pixels, filled with zeros: all the augmentation that digits need."""
    import torch

    size = batch.shape[-1]
    padded = torch.nn.functional.pad(batch, (most,) * 4)
    down, right = (int(torch.randint(2 * most + 1, ())) for _ in range(2))
    return padded[..., down : down + size, right : right + size]


def folded(net: "torch.nn.Module") -> Weights:
    """Weights by ONNX name, each batch normalisation folded into the convolution before it."""
    weights: Weights = {}
    layers: Any = net.layers
    for name, *_ in convolutions():
        conv, norm = layers[name.replace(".", "_")]
        scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        weights[f"{name}.weight"] = (conv.weight.detach() * scale[:, None, None, None]).cpu().numpy()
        weights[f"{name}.bias"] = (norm.bias.detach() - norm.running_mean * scale).cpu().numpy()
    fc: Any = net.fc
    weights["fc.weight"], weights["fc.bias"] = fc.weight.detach().cpu().numpy(), fc.bias.detach().cpu().numpy()
    return weights


def export(weights: Weights) -> "onnx.ModelProto":
    """The network as ONNX (opset 13): `image` FP32 [batch, 1, 64, 64] to `logits` FP32 [batch, 10]."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = []

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = {"flat": "flatten", "logits": "fc"}.get(output, output)
        nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def conv(name: str, source: str) -> str:
        kernel, stride = shape[name]
        pads, strides = [kernel // 2] * 4, [stride] * 2
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        return node("Conv", inputs, name, kernel_shape=[kernel] * 2, pads=pads, strides=strides)

    shape = {name: (kernel, stride) for name, _, _, kernel, stride in convolutions()}
    x = node("Relu", [conv("stem.conv", "image")], "stem.relu")
    for index in range(len(BLOCKS)):
        name = f"block{index}"
        inner = node("Relu", [conv(f"{name}.conv1", x)], f"{name}.relu1")
        inner = conv(f"{name}.conv2", inner)
        shortcut = conv(f"{name}.shortcut", x) if f"{name}.shortcut" in shape else x
        x = node("Relu", [node("Add", [inner, shortcut], f"{name}.add")], f"{name}.relu2")
    x = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "flat", axis=1)
    node("Gemm", [x, "fc.weight", "fc.bias"], "logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "digits_resnet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 64, 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def main() -> None:
    """Trains, exports, and writes the held-out and the calibration images."""
    import onnx
    import torch
    from sklearn.datasets import load_digits

    target = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    target.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    training, held_out = order[:-HELD_OUT], order[-HELD_OUT:]

    net = train(upscale(images[training]), labels[training])
    with torch.no_grad():
        logits = net.cpu()(torch.from_numpy(upscale(images[held_out]))).numpy()
    print(f"accuracy on {HELD_OUT} held-out images: {(logits.argmax(1) == labels[held_out]).mean():.3f}")

    onnx.save(export(folded(net)), str(target / "digits_resnet.fp32.onnx"))
    np.savez_compressed(target / "digits_eval.npz", images=images[held_out], labels=labels[held_out])
    np.savez_compressed(target / "digits_calibration.npz", images=images[training[:CALIBRATION]])


if __name__ == "__main__":
    main()
