"""LightGBM on the raw float32 columns that main.ts wrote; prints one JSON document. Binning counts, reading does not."""

import json
import sys
import time

import lightgbm
import numpy
from sklearn.metrics import roc_auc_score

folder, rows, features, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
columns = numpy.fromfile(f"{folder}/features.f32", numpy.float32).reshape(features, -1)
labels = numpy.fromfile(f"{folder}/labels.f32", numpy.float32)
train = numpy.ascontiguousarray(columns[:, :rows].T)
test = numpy.ascontiguousarray(columns[:, rows:].T)
parameters = {
    "objective": "binary",
    "num_leaves": 31,
    "max_bin": 255,
    "learning_rate": 0.1,
    "min_data_in_leaf": 20,
    "lambda_l2": 1.0,
    "num_threads": threads,
    "verbose": -1,
}
started, cpu_started = time.perf_counter(), time.process_time()
model = lightgbm.train(parameters, lightgbm.Dataset(train, labels[:rows]), 100)
seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
auc = roc_auc_score(labels[rows:], model.predict(test))
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "auc": auc}))
