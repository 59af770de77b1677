"""The best pyarrow + onnxruntime script: processes take files in turn, row group by row group, one contiguous batch.

python peer.py MODEL INPUT_FOLDER OUTPUT_FOLDER PROCESSES BATCH  ->  {"seconds": ..., "rows": ..., "cpu_s": ..., "rss_mb": ...}
"""
import glob
import json
import multiprocessing as mp
import os
import resource
import sys
import time

FEATURES = [f"f{i}" for i in range(30)]


def work(model, files, output, batch, queue):
    import numpy as np
    import onnxruntime as ort
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, result = session.get_inputs()[0].name, session.get_outputs()[-1].name
    schema = pa.schema([("id", pa.int64()), ("ts", pa.timestamp("us")), ("prediction", pa.float32())])
    buffer = np.empty((batch, 30), np.float32)
    rows = 0
    for path in files:
        source = pq.ParquetFile(path, pre_buffer=False)
        with pq.ParquetWriter(os.path.join(output, os.path.basename(path)), schema, compression="zstd") as writer:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group, columns=["id", "ts"] + FEATURES, use_threads=False)
                columns = [table.column(f).combine_chunks().to_numpy(zero_copy_only=True) for f in FEATURES]
                predictions = np.empty(table.num_rows, np.float32)
                for start in range(0, table.num_rows, batch):
                    end = min(table.num_rows, start + batch)
                    block = buffer[: end - start]
                    for i, column in enumerate(columns):
                        block[:, i] = column[start:end]
                    predictions[start:end] = session.run([result], {name: block})[0].reshape(end - start, -1)[:, -1]
                keys = [table.column("id"), table.column("ts")]
                writer.write_table(pa.table(keys + [pa.array(predictions)], schema=schema))
                rows += table.num_rows
    usage = resource.getrusage(resource.RUSAGE_SELF)
    queue.put((rows, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))


if __name__ == "__main__":
    model, folder, output, processes, batch = sys.argv[1:6]
    os.makedirs(output, exist_ok=True)
    files = sorted(glob.glob(os.path.join(folder, "*.parquet")))
    started = time.time()
    queue = mp.Queue()
    count = int(processes)
    children = [
        mp.Process(target=work, args=(model, files[i::count], output, int(batch), queue)) for i in range(count)
    ]
    for child in children:
        child.start()
    results = [queue.get() for _ in children]
    for child in children:
        child.join()
    print(
        json.dumps(
            {
                "seconds": time.time() - started,
                "rows": sum(r[0] for r in results),
                "cpu_s": sum(r[1] for r in results),
                "rss_mb": sum(r[2] for r in results),
            }
        )
    )
