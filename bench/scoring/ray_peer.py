"""Ray Data on this machine alone, one actor per core. python ray_peer.py MODEL INPUT_FOLDER OUTPUT_FOLDER"""

import json
import os
import shutil
import sys
import time

import numpy as np
import ray

FEATURES = [f"f{i}" for i in range(30)]


class Scorer:
    def __init__(self, model):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input, self.output = self.session.get_inputs()[0].name, self.session.get_outputs()[-1].name

    def __call__(self, batch):
        features = np.stack([batch[name] for name in FEATURES], axis=1)
        scores = self.session.run([self.output], {self.input: features})[0].reshape(len(features), -1)[:, -1]
        return {"id": batch["id"], "ts": batch["ts"], "score": scores}


def main(model, folder, output):
    started = time.time()
    cores = os.cpu_count()
    # An actor holds its CPU as long as it lives; without as many again nothing is left to read with, and all wait for ever.
    ray.init(num_cpus=2 * cores, include_dashboard=False, log_to_driver=False)
    shutil.rmtree(output, ignore_errors=True)
    rows = ray.data.read_parquet(folder, columns=["id", "ts", *FEATURES])
    scored = rows.map_batches(Scorer, fn_constructor_args=[model], batch_size=2048, concurrency=cores)
    scored.write_parquet(output)
    count = ray.data.read_parquet(output).count()
    ray.shutdown()
    print(json.dumps({"seconds": time.time() - started, "rows": count}))


main(*sys.argv[1:4])
