"""whylogs: two profiles and the drift between them."""
import sys

import pandas as pd
import whylogs as why
from cost import report
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

columns = [f"f{i}" for i in range(30)]


def profile(path):
    return why.log(pandas=pd.read_parquet(path, columns=columns)).profile().view()


reference, current = profile(sys.argv[1]), profile(sys.argv[2])
scores = calculate_drift_scores(target_view=current, reference_view=reference, with_thresholds=True)
report(columns=sum(1 for score in scores.values() if score is not None))
