"""Great Expectations: 90 expectations of one file: no NULL, range and mean of every column."""
import sys

import great_expectations as gx
import pandas as pd
from cost import report
from great_expectations import expectations as gxe

columns = [f"f{i}" for i in range(30)]
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("current")
frame = pd.read_parquet(sys.argv[1], columns=columns)
batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
suite = gx.ExpectationSuite(name="bench")
for column in columns:
    suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=column))
    suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column=column, min_value=-100, max_value=1000))
    suite.add_expectation(gxe.ExpectColumnMeanToBeBetween(column=column, min_value=-1, max_value=10))
result = batch.validate(suite, result_format="BOOLEAN_ONLY")
report(checks=len(result.results), passed=sum(1 for one in result.results if one.success))
