"""Trains the models of the trees bench and exports them; a model that is there stays. LightGBM's own text is kept too, for
peers that read it.

python make_models.py FOLDER NAME...
"""

import os
import pathlib
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
FEATURES = 30
LIGHTGBM = {"lightgbm-100x31": (100, 31, -1), "lightgbm-500x63": (500, 63, 8), "lightgbm-500x255": (500, 255, -1)}


def table(rows):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    signal = x[:, 0] * 1.5 + np.sin(2 * x[:, 1]) + x[:, 2] * x[:, 3] + 0.3 * rng.normal(size=rows)
    return x, (signal > np.median(signal)).astype(int)


def lightgbm_model(text, trees, leaves, depth):
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = lightgbm.LGBMClassifier(n_estimators=trees, num_leaves=leaves, max_depth=depth, n_jobs=2, verbose=-1)
    model.fit(*table(200_000))
    model.booster_.save_model(text)
    types = [("x", FloatTensorType([None, FEATURES]))]
    return convert_lightgbm(model, initial_types=types, zipmap=False, target_opset=15)


def exact_boosting():
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = table(20_000)
    model = GradientBoostingClassifier(n_estimators=100, max_depth=5, subsample=0.3, random_state=1).fit(x, y)
    return to_onnx(model, x[:1], options={"zipmap": False}, target_opset=15)


def make(folder, name):
    return lightgbm_model(folder / f"{name}.txt", *LIGHTGBM[name]) if name in LIGHTGBM else exact_boosting()


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        target = folder / f"{name}.onnx"
        if target.exists():
            continue
        started = time.time()
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(make(folder, name).SerializeToString())
        partial.rename(target)
        print(f"{name}: {time.time() - started:.0f} s", file=sys.stderr)
