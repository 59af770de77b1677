"""Prints what readers that Almanac did not write see in a Delta table: one JSON document per version asked."""

import json
import sys

import polars
from deltalake import DeltaTable


def rows_of(table):
    """Rows as dicts, sorted by partition and id, columns in the order of the table."""
    return sorted(table.to_pylist(), key=lambda row: (row["partition"], row["id"] or 0))


folder, *versions = sys.argv[1:]
seen = []
for text in versions:
    version = None if text == "newest" else int(text)
    table = DeltaTable(folder, version=version)
    seen.append(
        {
            "version": table.version(),
            "columns": {field.name: str(field.type.type) for field in table.schema().fields},
            "partitionColumns": table.metadata().partition_columns,
            "files": sorted(uri.rsplit("/", 1)[1] for uri in table.file_uris()),
            "rows": rows_of(table.to_pyarrow_dataset().to_table()),
            "rowsOfPolars": rows_of(polars.scan_delta(folder, version=version).collect().to_arrow()),
            "operations": [entry.get("operation") for entry in table.history()],
        }
    )
print(json.dumps(seen, default=lambda value: value.isoformat()))
