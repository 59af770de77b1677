"""The best scripts we know for the same work with pyarrow, onnxruntime and numba: one process per core, files in turn, row
group by row group, contiguous batches, one thread each.

python peer.py MODEL INPUT_FOLDER OUTPUT_FOLDER PROCESSES BATCH [--files N] [--nightly SHADOW_MODEL]

`--nightly` is what a team needs besides predictions: bounds of every feature checked and broken rows kept apart, a profile
of inputs and predictions (count, missing, minimum, maximum, mean, standard deviation, 100 equal-width bins), keys checked
for duplicates per file, and the predictions of a second model beside those of the first.

Prints {"rows", "cpu_s", "rss_mb"}: the CPU time and peak memory of the processes together. Whoever starts it takes the time.
"""

import argparse
import glob
import json
import multiprocessing as mp
import os
import resource

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as on our side

FEATURES = [f"f{i}" for i in range(30)]
KEYS = ["id", "ts"]
LOW, HIGH, BINS = -10.0, 20.0, 100


def open_session(model):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Matrix:
    """A model with one [N, 30] input."""

    columns = FEATURES

    def __init__(self, model, batch):
        import numpy as np

        self.session, self.batch = open_session(model), batch
        self.input, self.output = self.session.get_inputs()[0].name, self.session.get_outputs()[-1].name
        self.buffer = np.empty((batch, len(FEATURES)), np.float32)

    def predict(self, columns, start, end):
        block = self.buffer[: end - start]
        for i, column in enumerate(columns):
            block[:, i] = column[start:end]
        return self.run(block)

    def run(self, block):
        return self.session.run([self.output], {self.input: block})[0].reshape(len(block), -1)[:, -1]


class Named:
    """A model with an [N, 1] input per column, one of them a string."""

    def __init__(self, model, batch):
        self.session, self.batch = open_session(model), batch
        self.columns = [i.name for i in self.session.get_inputs()]
        self.output = self.session.get_outputs()[-1].name

    def predict(self, columns, start, end):
        feeds = {name: column[start:end].reshape(-1, 1) for name, column in zip(self.columns, columns)}
        return self.session.run([self.output], feeds)[0].reshape(end - start, -1)[:, -1]


def nightly_tools():
    import numba
    import numpy as np

    @numba.njit(cache=True, nogil=True)
    def fold(values, bins, state, bad):
        """Rules and profile of one column in one pass."""
        count, missing, low, high, total, squares = state[0], state[1], state[2], state[3], state[4], state[5]
        last = bins.shape[0] - 1
        scale = np.float32(BINS / (HIGH - LOW))
        for i in range(values.shape[0]):
            x = values[i]
            if x != x:
                missing += 1
                continue
            count += 1
            low = min(low, x)
            high = max(high, x)
            y = np.float64(x)
            total += y
            squares += y * y
            if x < LOW or x > HIGH:
                bad[i] = 1
            bins[max(0, min(last, int((x - np.float32(LOW)) * scale)))] += 1
        state[0], state[1], state[2], state[3], state[4], state[5] = count, missing, low, high, total, squares

    fold(np.zeros(1, np.float32), np.zeros(BINS, np.int64), np.zeros(6), np.zeros(1, np.uint8))
    return fold


def work(args, files, queue):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    first = Matrix(args.model, args.batch) if args.matrix else Named(args.model, args.batch)
    shadow = Matrix(args.nightly, args.batch) if args.nightly else None
    fold = nightly_tools() if shadow else None
    names = ["score", "shadow"] if shadow else ["score"]
    schema = pa.schema([("id", pa.int64()), ("ts", pa.timestamp("us"))] + [(n, pa.float32()) for n in names])
    bins = np.zeros((31, BINS), np.int64)
    states = np.tile(np.array([0, 0, np.inf, -np.inf, 0, 0]), (31, 1))
    rows = duplicates = broken = 0
    for path in files:
        source = pq.ParquetFile(path, pre_buffer=False)
        ids = []
        with pq.ParquetWriter(os.path.join(args.output, os.path.basename(path)), schema, compression="zstd") as writer:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group, columns=KEYS + first.columns, use_threads=False)
                count = table.num_rows
                columns = [table.column(f).combine_chunks() for f in first.columns]
                columns = [c.to_numpy(zero_copy_only=not pa.types.is_string(c.type)) for c in columns]
                predictions = [np.empty(count, np.float32) for _ in names]
                for start in range(0, count, args.batch):
                    end = min(count, start + args.batch)
                    predictions[0][start:end] = first.predict(columns, start, end)
                    if shadow:
                        predictions[1][start:end] = shadow.run(first.buffer[: end - start])
                result = pa.table([table.column(k) for k in KEYS] + [pa.array(p) for p in predictions], schema=schema)
                if shadow:
                    bad = np.zeros(count, np.uint8)
                    for i, column in enumerate(columns):
                        fold(column, bins[i], states[i], bad)
                    fold(predictions[0], bins[30], states[30], np.zeros(count, np.uint8))
                    if bad.any():
                        broken += int(bad.sum())
                        result = result.filter(pa.array(bad == 0))
                    ids.append(table.column("id").to_numpy())
                writer.write_table(result)
                rows += count
        if shadow:
            every = np.concatenate(ids)
            duplicates += len(every) - len(np.unique(every))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    queue.put((rows, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("model", "input", "output"):
        parser.add_argument(name)
    parser.add_argument("processes", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--nightly")
    parser.add_argument("--named", dest="matrix", action="store_false")
    args = parser.parse_args()
    os.makedirs(args.output, exist_ok=True)
    files = sorted(glob.glob(os.path.join(args.input, "*.parquet")))[: args.files]
    queue = mp.Queue()
    children = [mp.Process(target=work, args=(args, files[i :: args.processes], queue)) for i in range(args.processes)]
    for child in children:
        child.start()
    results = [queue.get() for _ in children]
    for child in children:
        child.join()
    rows, cpu, rss = (sum(r[i] for r in results) for i in range(3))
    print(json.dumps({"rows": rows, "cpu_s": cpu, "rss_mb": rss}))
