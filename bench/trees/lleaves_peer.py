"""Rows per second of lleaves on one thread, best of five passes. python lleaves_peer.py MODEL.txt"""

import sys
import time

import lleaves
import numpy as np

model = lleaves.Model(model_file=sys.argv[1])
model.compile(fblocksize=34)
rows = np.random.default_rng(1).normal(size=(65_536, model.num_feature())).astype(np.float32)
model.predict(rows[:1024], n_jobs=1)
best = 0.0
for _ in range(5):
    started = time.perf_counter()
    model.predict(rows, n_jobs=1)
    best = max(best, len(rows) / (time.perf_counter() - started))
print(best)
