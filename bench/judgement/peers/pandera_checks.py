"""pandera on Polars: the same 90 checks of one file."""
import sys

import pandera.polars as pa
import polars as pl
from cost import report

columns = [f"f{i}" for i in range(30)]


def mean_between(data):
    return data.lazyframe.select(pl.col(data.key).mean().is_between(-1, 10))


column = pa.Column(pl.Float32, [pa.Check.in_range(-100, 1000), pa.Check(mean_between)], nullable=False)
schema = pa.DataFrameSchema({name: column for name in columns})
schema.validate(pl.read_parquet(sys.argv[1], columns=columns), lazy=True)
report(checks=90, passed=90)
