"""Makes exports of small PyTorch and TensorFlow networks, with inputs and what Python's onnxruntime answers.

Each framework in an environment of its own (the committed files were made with exactly these):

    python -m venv .cache/pytorch-venv
    .cache/pytorch-venv/bin/pip install torch==2.15.0 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.31.1
    .cache/pytorch-venv/bin/python test/onnx/make_networks.py pytorch test/onnx/fixtures/networks

    python -m venv .cache/tensorflow-venv
    .cache/tensorflow-venv/bin/pip install tensorflow-cpu==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.31.1
    .cache/tensorflow-venv/bin/python test/onnx/make_networks.py tensorflow test/onnx/fixtures/networks

For each model NAME: NAME.onnx and NAME.json {made_with, inputs: {name: {type, dims, values}}, outputs: {name: {dims,
values}}}.
"""

import importlib.metadata
import json
import pathlib
import sys

import numpy as np
import onnxruntime

framework, folder = sys.argv[1], pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(11)
ROWS = 50
x = rng.normal(size=(ROWS, 6)).astype(np.float32)
region = rng.integers(0, 8, size=(ROWS, 1))
spend, age = x[:, :1].copy(), x[:, 1:2].copy()
versions = {
    name: importlib.metadata.version(name)
    for name in {"pytorch": ["torch", "onnxscript", "onnx"], "tensorflow": ["tensorflow-cpu", "tf2onnx", "onnx"]}[framework]
    + ["onnxruntime", "numpy"]
}


def save(name, feeds):
    """Runs the exported file NAME.onnx, so that what is compared is the file as it is committed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options)
    assert not list(folder.glob("*.data")), "weights must be inside the file"
    outputs = {
        output.name: {"dims": list(value.shape), "values": value.ravel().tolist()}
        for output, value in zip(session.get_outputs(), session.run(None, feeds))
    }
    inputs = {
        key: {"type": str(value.dtype), "dims": list(value.shape), "values": value.ravel().tolist()}
        for key, value in feeds.items()
    }
    document = {"made_with": versions, "inputs": inputs, "outputs": outputs}
    (folder / f"{name}.json").write_text(json.dumps(document))
    print(name, (folder / f"{name}.onnx").stat().st_size)


def pytorch():
    import torch
    from torch import nn

    torch.manual_seed(3)

    def fit(model, *tensors):
        """One step in training mode, so that batch normalisation has statistics of its own."""
        optimizer = torch.optim.Adam(model.parameters(), 0.05)
        for _ in range(20):
            optimizer.zero_grad()
            (model(*tensors) - torch.sin(tensors[-1].float()[:, :1])).square().mean().backward()
            optimizer.step()
        return model.eval()

    binary = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 1), nn.Sigmoid()
    )
    torch.onnx.export(
        fit(binary, torch.from_numpy(x)),
        (torch.from_numpy(x),),
        folder / "pytorch-binary.onnx",
        input_names=["x"],
        output_names=["probability"],
        dynamic_axes={"x": {0: "N"}, "probability": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )
    save("pytorch-binary", {"x": x})

    multiclass = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.LayerNorm(12), nn.Linear(12, 3), nn.Softmax(dim=1))
    program = torch.onnx.export(
        multiclass.eval(),
        (torch.from_numpy(x),),
        input_names=["x"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        dynamo=True,
    )
    program.save(folder / "pytorch-multiclass.onnx", external_data=False)
    save("pytorch-multiclass", {"x": x})

    class Embedded(nn.Module):
        """A category as an embedding beside two numbers, each an input of its own."""

        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(8, 4)
            self.tower = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 1))

        def forward(self, region, spend, age):
            return self.tower(torch.cat([self.embedding(region.squeeze(1)), spend, age], dim=1)) * 40

    tensors = tuple(torch.from_numpy(value) for value in (region, spend, age))
    torch.onnx.export(
        Embedded().eval(),
        tensors,
        folder / "pytorch-embedding.onnx",
        input_names=["region", "spend", "age"],
        output_names=["amount"],
        dynamic_axes={name: {0: "N"} for name in ["region", "spend", "age", "amount"]},
        opset_version=17,
        dynamo=False,
    )
    save("pytorch-embedding", {"region": region, "spend": spend, "age": age})


def tensorflow():
    import keras
    import tensorflow as tf
    import tf2onnx

    keras.utils.set_random_seed(5)

    def export(name, model, names, output):
        signature = [tf.TensorSpec((None, value.shape[1]), value.dtype, name=key) for key, value in names.items()]
        call = tf.function(lambda *inputs: {output: model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)})
        tf2onnx.convert.from_function(
            call, input_signature=signature, opset=15, output_path=str(folder / f"{name}.onnx")
        )
        save(name, names)

    layers = keras.layers
    binary = keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(),
            layers.Dense(16, "relu"),
            layers.Dropout(0.2),
            layers.Dense(1, "sigmoid"),
        ]
    )
    binary.compile("adam", "binary_crossentropy")
    binary.fit(x, (x[:, 0] > 0).astype(np.float32), epochs=3, verbose=0)
    export("tensorflow-binary", binary, {"x": x}, "probability")

    multiclass = keras.Sequential([keras.Input((6,)), layers.Dense(10, "selu"), layers.Dense(4, "softmax")])
    export("tensorflow-multiclass", multiclass, {"x": x}, "probabilities")

    one, two = keras.Input((1,)), keras.Input((1,))
    joined = layers.Dense(8, "tanh")(layers.Concatenate()([one, two]))
    targets = keras.Model([one, two], layers.Dense(2)(joined))
    export("tensorflow-targets", targets, {"spend": spend, "age": age}, "amounts")


{"pytorch": pytorch, "tensorflow": tensorflow}[framework]()
