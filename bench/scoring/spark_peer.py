"""Spark on this machine alone: a pandas function over batches. python spark_peer.py MODEL INPUT_FOLDER OUTPUT_FOLDER"""

import json
import os
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import col

FEATURES = [f"f{i}" for i in range(30)]


def main(model, folder, output):
    # Workers of Spark are started by name otherwise, in an environment without the packages.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    started = time.time()
    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "2048")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )

    def score(batches):
        import numpy as np
        import onnxruntime as ort
        import pandas as pd

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name, result = session.get_inputs()[0].name, session.get_outputs()[-1].name
        for batch in batches:
            features = np.ascontiguousarray(batch[FEATURES].to_numpy(np.float32))
            scores = session.run([result], {name: features})[0].reshape(len(batch), -1)[:, -1]
            yield pd.DataFrame({"id": batch["id"], "ts": batch["ts"], "score": scores})

    table = spark.read.parquet(folder).select(col("id"), col("ts"), *FEATURES)
    table.mapInPandas(score, "id long, ts timestamp_ntz, score float").write.mode("overwrite").parquet(output)
    rows = spark.read.parquet(output).count()
    spark.stop()
    print(json.dumps({"seconds": time.time() - started, "rows": rows}))


main(*sys.argv[1:4])
