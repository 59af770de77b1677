"""A trainer for Almanac in Python: LightGBM on Parquet, out as ONNX.

The contract is docs/how-to/command-trainer.md: read the spec named by ALMANAC_TRAIN_SPEC, write model.onnx, metrics.json
and golden.parquet into its outputFolder, print progress as JSON lines, exit 0. In a model definition:

    train:
      trainer: { command: [.venv/bin/python, train.py], trees: 100 }
"""

import json
import os
import pathlib

import lightgbm
import numpy
import onnxruntime
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

GOLDEN_ROWS = 256


def main() -> None:
    spec = json.loads(pathlib.Path(os.environ["ALMANAC_TRAIN_SPEC"]).read_text())
    if spec["task"] != "binary":
        raise SystemExit(f"this example trains binary models, the spec asks for {spec['task']}")
    output = pathlib.Path(spec["outputFolder"])
    train = read_rows(spec["trainFiles"], spec)
    holdout = read_rows(spec["holdoutFiles"], spec) if spec["holdoutFiles"] else train
    vocabularies = {
        feature["name"]: sorted(set(train[feature["name"]].to_pylist()) - {None})
        for feature in spec["features"]
        if feature["type"] in ("category", "text")
    }

    trees = int(spec["parameters"].get("trees", 100))
    parameters = {"objective": "binary", "seed": spec["seed"], "deterministic": True, "verbose": -1}
    labels = label_of(train, spec)
    if labels.min() == labels.max():
        column, positive = spec["label"]["column"], spec["label"]["positive"]
        raise SystemExit(f"every label in {column} is the same: is {positive!r} really the positive value?")
    dataset = lightgbm.Dataset(encode(train, spec, vocabularies), labels, weight=weights_of(train, spec))
    model = lightgbm.train(parameters, dataset, trees, callbacks=[lambda state: report(state.iteration + 1, trees)])

    graph = convert_lightgbm(
        model,
        initial_types=[("features", FloatTensorType([None, len(spec["features"])]))],
        zipmap=False,
        target_opset=15,
    )
    entry = graph.metadata_props.add()
    entry.key, entry.value = "almanac.signature", json.dumps(signature(spec, vocabularies))
    (output / "model.onnx").write_bytes(graph.SerializeToString())

    # What counts is what the exported model says, so the golden rows and the metrics come from it.
    session = onnxruntime.InferenceSession(str(output / "model.onnx"))
    scores = session.run(["probabilities"], {"features": encode(holdout, spec, vocabularies)})[0][:, 1]
    golden = holdout.select([feature["name"] for feature in spec["features"]]).slice(0, GOLDEN_ROWS)
    golden = golden.append_column("score", pyarrow.array(scores[:GOLDEN_ROWS], pyarrow.float32()))
    pyarrow.parquet.write_table(golden, output / "golden.parquet")
    (output / "metrics.json").write_text(json.dumps({"auc": auc(label_of(holdout, spec), scores, weights_of(holdout, spec))}))


def read_rows(files: list[str], spec: dict) -> pyarrow.Table:
    """Rows that have a label."""
    table = pyarrow.concat_tables([pyarrow.parquet.read_table(file) for file in files])
    return table.filter(pyarrow.compute.is_valid(table[spec["label"]["column"]]))


def encode(table: pyarrow.Table, spec: dict, vocabularies: dict[str, list[str]]) -> numpy.ndarray:
    """float32 [rows, features]: numbers as they are, categories as codes, NULL as NaN."""
    columns = []
    for feature in spec["features"]:
        column = table[feature["name"]]
        if feature["name"] in vocabularies:
            codes = {value: code for code, value in enumerate(vocabularies[feature["name"]])}
            unseen = len(codes)
            values = [numpy.nan if value is None else codes.get(value, unseen) for value in column.to_pylist()]
        else:
            values = column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
        columns.append(numpy.asarray(values, dtype=numpy.float32))
    return numpy.ascontiguousarray(numpy.stack(columns, axis=1))


def label_of(table: pyarrow.Table, spec: dict) -> numpy.ndarray:
    positive = spec["label"]["positive"]
    return numpy.array([is_positive(value, positive) for value in table[spec["label"]["column"]].to_pylist()], dtype=int)


def weights_of(table: pyarrow.Table, spec: dict) -> numpy.ndarray | None:
    """Relative weights of sampled labels; None where all rows count alike."""
    column = spec["label"].get("weight")
    if column is None:
        return None
    weights = table[column].cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    return weights / weights.mean()


def is_positive(value: object, positive: str) -> bool:
    """As text, or as number: a positive of "1" also finds 1.0 and True, "true" finds True."""
    if isinstance(value, bool) and positive.lower() in ("true", "false"):
        return value == (positive.lower() == "true")
    try:
        return float(value) == float(positive)
    except ValueError:
        return str(value) == positive


def signature(spec: dict, vocabularies: dict[str, list[str]]) -> dict:
    """How table columns become the input, and what the outputs mean."""
    columns = [
        {"kind": "code", "column": feature["name"], "vocabulary": vocabularies[feature["name"]]}
        if feature["name"] in vocabularies
        else {"kind": "number", "column": feature["name"]}
        for feature in spec["features"]
    ]
    return {
        "schema": "signature/1",
        "task": "binary",
        "inputs": [{"name": "features", "type": "float32", "rank": 2, "columns": columns}],
        "outputs": [{"name": "probabilities", "type": "float32", "width": 2, "meaning": "probabilities"}],
        "classes": spec["classes"],
        "targets": [],
        "threshold": 0.5,
    }


def report(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total, "unit": "rounds"}), flush=True)


def auc(labels: numpy.ndarray, scores: numpy.ndarray, weights: numpy.ndarray | None) -> float | None:
    """Area under the ROC curve, ties counted half; None when only one class is there."""
    weights = numpy.ones(len(labels)) if weights is None else weights
    _, group = numpy.unique(scores, return_inverse=True)
    positives = numpy.bincount(group, weights * (labels == 1))
    negatives = numpy.bincount(group, weights * (labels == 0))
    if positives.sum() == 0 or negatives.sum() == 0:
        return None
    below = numpy.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / (positives.sum() * negatives.sum()))


if __name__ == "__main__":
    main()
