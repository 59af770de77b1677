"""Evidently: PSI drift of every column and the data summary, current against reference."""
import sys

import pandas as pd
from cost import report
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset, DataSummaryPreset

columns = [f"f{i}" for i in range(30)]
definition = DataDefinition(numerical_columns=columns)


def dataset(path):
    return Dataset.from_pandas(pd.read_parquet(path, columns=columns), data_definition=definition)


reference, current = dataset(sys.argv[1]), dataset(sys.argv[2])
snapshot = Report([DataDriftPreset(num_method="psi"), DataSummaryPreset()]).run(current, reference)
report(metrics=len(snapshot.dict()["metrics"]))
