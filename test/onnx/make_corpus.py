"""Makes real exports of tree models and others, with inputs and what Python's onnxruntime answers.

    python -m venv .cache/trees-venv
    .cache/trees-venv/bin/pip install numpy==1.26.4 scikit-learn==1.5.2 lightgbm==4.5.0 xgboost==2.1.4 catboost==1.2.7 \
        onnx==1.17.0 skl2onnx==1.18.0 onnxmltools==1.13.0 onnxruntime==1.20.1 pandas==2.2.3 protobuf==4.25.5
    .cache/trees-venv/bin/python test/onnx/make_corpus.py FOLDER [--large]

For each model NAME: NAME.onnx and NAME.json {inputs: {name: {type, dims, values}}, outputs: {name: {dims, values}}}; NaN is
the text "NaN". --large adds the models of bench/trees. The small set is committed under test/onnx/fixtures.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnxruntime

warnings.filterwarnings("ignore")
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
large = "--large" in sys.argv
rng = np.random.default_rng(7)


def table(rows, columns, classes=2, missing=0.0):
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    signal = x[:, 0] * 1.5 + np.sin(2 * x[:, 1]) + x[:, 2] * x[:, 3] + 0.3 * rng.normal(size=rows)
    y = np.digitize(signal, np.quantile(signal, np.arange(1, classes) / classes))
    x[rng.random(x.shape) < missing] = np.nan
    return x, y, signal.astype(np.float32)


def listed(values):
    flat = np.asarray(values).ravel().tolist()
    return ["NaN" if isinstance(v, float) and np.isnan(v) else v for v in flat]


def save(name, model, feeds):
    data = model.SerializeToString()
    (folder / f"{name}.onnx").write_bytes(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options)
    outputs = {}
    for output in session.get_outputs():
        if output.type.startswith("tensor"):
            (value,) = session.run([output.name], feeds)
            outputs[output.name] = {"dims": list(value.shape), "values": listed(value)}
    inputs = {
        key: {"type": str(value.dtype), "dims": list(value.shape), "values": listed(value)} for key, value in feeds.items()
    }
    document = json.dumps({"inputs": inputs, "outputs": outputs})
    (folder / f"{name}.json").write_text(document)
    print(name, len(data), [n.op_type for n in model.graph.node])


def lightgbm_models():
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    def convert(model, columns, zipmap=False):
        return convert_lightgbm(
            model, initial_types=[("x", FloatTensorType([None, columns]))], zipmap=zipmap, target_opset=15
        )

    x, y, value = table(2000, 6, missing=0.05)
    _, y3, _ = table(2000, 6, classes=3)
    small = dict(n_estimators=8, num_leaves=12, verbose=-1, random_state=1, n_jobs=1)
    test = {"x": x[:60]}
    binary = lightgbm.LGBMClassifier(**small).fit(x, y)
    save("lightgbm-binary", convert(binary, 6), test)
    save("lightgbm-binary-zipmap", convert(binary, 6, zipmap=True), test)
    save("lightgbm-multiclass", convert(lightgbm.LGBMClassifier(**small).fit(x, y3), 6), test)
    save("lightgbm-regression", convert(lightgbm.LGBMRegressor(**small).fit(x, value), 6), test)
    forest = lightgbm.LGBMRegressor(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, **small).fit(x, value)
    save("lightgbm-forest", convert(forest, 6), test)
    codes = x.copy()
    codes[:, 5] = rng.integers(0, 9, size=len(x))
    category = lightgbm.LGBMRegressor(**small).fit(codes, value + (codes[:, 5] % 3), categorical_feature=[5])
    save("lightgbm-category", convert(category, 6), {"x": codes[:60]})
    if not large:
        return
    x, y, value = table(200_000, 30)
    for trees, leaves, depth in [(100, 31, -1), (500, 63, 8), (500, 255, -1)]:
        model = lightgbm.LGBMClassifier(n_estimators=trees, num_leaves=leaves, max_depth=depth, verbose=-1)
        save(f"bench-{trees}x{leaves}", convert(model.fit(x, y), 30), {"x": x[:10]})


def xgboost_models():
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    def convert(model, columns):
        return convert_xgboost(model, initial_types=[("x", FloatTensorType([None, columns]))], target_opset=15)

    x, y, value = table(2000, 6, missing=0.05)
    _, y3, _ = table(2000, 6, classes=3)
    small = dict(n_estimators=8, max_depth=4, random_state=1, n_jobs=1)
    test = {"x": x[:60]}
    save("xgboost-binary", convert(xgboost.XGBClassifier(**small).fit(x, y), 6), test)
    save("xgboost-multiclass", convert(xgboost.XGBClassifier(**small).fit(x, y3), 6), test)
    save("xgboost-regression", convert(xgboost.XGBRegressor(base_score=0.7, **small).fit(x, value), 6), test)


def catboost_models():
    import catboost
    import onnx

    x, y, value = table(2000, 6, missing=0.05)
    _, y3, _ = table(2000, 6, classes=3)
    small = dict(iterations=8, depth=4, random_seed=1, verbose=False, allow_writing_files=False, thread_count=1)

    def convert(name, model):
        path = folder / "catboost.tmp"
        model.save_model(str(path), format="onnx", export_parameters={"onnx_domain": "ai.catboost"})
        save(name, onnx.load(str(path)), {"features": x[:60]})
        path.unlink()

    convert("catboost-binary", catboost.CatBoostClassifier(**small).fit(x, y))
    convert("catboost-multiclass", catboost.CatBoostClassifier(**small).fit(x, y3))
    convert("catboost-regression", catboost.CatBoostRegressor(**small).fit(x, value))


def sklearn_models():
    from skl2onnx import to_onnx
    from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing, tree

    x, y, value = table(2000, 6)
    _, y3, _ = table(2000, 6, classes=3)
    names = np.array(["low", "mid", "high"])
    opset = {"": 15, "ai.onnx.ml": 3}

    def convert(name, model, target, zipmap=False):
        model.fit(x, target)
        options = {"zipmap": zipmap} if hasattr(model, "predict_proba") else None
        save(name, to_onnx(model, x[:1], options=options, target_opset=opset), {"X": x[:60]})

    two = np.stack([value, -value + x[:, 0]], axis=1)
    convert("sklearn-boosting", ensemble.GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=1), y)
    convert("sklearn-boosting-multiclass", ensemble.GradientBoostingClassifier(n_estimators=5, random_state=1), y3)
    convert("sklearn-boosting-regression", ensemble.GradientBoostingRegressor(n_estimators=8, random_state=1), value)
    hist = dict(max_iter=8, max_leaf_nodes=10, random_state=1)
    for name, model, target in [
        ("binary", ensemble.HistGradientBoostingClassifier(**hist), y),
        ("multiclass", ensemble.HistGradientBoostingClassifier(**hist), y3),
        ("regression", ensemble.HistGradientBoostingRegressor(**hist), value),
    ]:
        convert(f"sklearn-histogram-{name}", model, target)
    forest = dict(n_estimators=6, max_depth=6, random_state=1)
    convert("sklearn-forest", ensemble.RandomForestClassifier(**forest), y)
    convert("sklearn-forest-multiclass", ensemble.RandomForestClassifier(**forest), names[y3], zipmap=True)
    convert("sklearn-forest-regression", ensemble.RandomForestRegressor(**forest), value)
    convert("sklearn-forest-targets", ensemble.ExtraTreesRegressor(**forest), two)
    convert("sklearn-tree", tree.DecisionTreeClassifier(max_depth=5, random_state=1), y)
    scaled = [preprocessing.StandardScaler(), ensemble.GradientBoostingClassifier(n_estimators=8, random_state=1)]
    convert("sklearn-scaled-boosting", pipeline.make_pipeline(*scaled), y)
    logistic = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    convert("sklearn-logistic", logistic, y)
    network = neural_network.MLPClassifier(hidden_layer_sizes=(8, 4), max_iter=50, random_state=1)
    convert("sklearn-network", network, y3)
    convert("sklearn-linear-targets", linear_model.LinearRegression(), two)
    if not large:
        return
    x, y, value = table(20_000, 30)
    convert("bench-boosting-exact", ensemble.GradientBoostingClassifier(n_estimators=100, max_depth=5, subsample=0.3), y)


for make in (lightgbm_models, xgboost_models, catboost_models, sklearn_models):
    make()
