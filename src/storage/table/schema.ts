/** The columns of a table of predictions in Delta's words, and how they may grow. */

export type DeltaType =
  | 'string'
  | 'long'
  | 'integer'
  | 'short'
  | 'byte'
  | 'float'
  | 'double'
  | 'boolean'
  | 'binary'
  | 'date'
  | 'timestamp'
  | `decimal(${number},${number})`;

export interface TableColumn {
  readonly name: string;
  readonly type: DeltaType;
}

/** The column whose value is in the folder name and in the log, not in the files. */
export const partitionColumn: TableColumn = { name: 'partition', type: 'string' };

export function schemaString(columns: readonly TableColumn[]): string {
  const fields = [...columns, partitionColumn].map(({ name, type }) => ({ name, type, nullable: true, metadata: {} }));
  return JSON.stringify({ type: 'struct', fields });
}

export function columnsOf(schema: string): readonly TableColumn[] {
  const { fields } = JSON.parse(schema) as { readonly fields: readonly TableColumn[] };
  return fields.filter(field => field.name !== partitionColumn.name).map(({ name, type }) => ({ name, type }));
}

export type MergedColumns =
  | { readonly kind: 'same' }
  /** New columns stand at the end; files without them read as NULL. */
  | { readonly kind: 'grown'; readonly columns: readonly TableColumn[] }
  | { readonly kind: 'contradiction'; readonly reason: string };

/** A generation may bring new columns and leave old ones out, but never change a column's type. */
export function mergeColumns(before: readonly TableColumn[], next: readonly TableColumn[]): MergedColumns {
  const added: TableColumn[] = [];
  for (const column of next) {
    if (column.name === partitionColumn.name) {
      return { kind: 'contradiction', reason: 'column "partition" is the table\'s own: rename the output column' };
    }
    const known = before.find(({ name }) => name === column.name);
    if (known === undefined) added.push(column);
    else if (known.type !== column.type) {
      const reason = `column ${column.name} is ${known.type} in the table and ${column.type} in the new files: write to another output`;
      return { kind: 'contradiction', reason };
    }
  }
  return added.length === 0 ? { kind: 'same' } : { kind: 'grown', columns: [...before, ...added] };
}

const deltaTypes: Readonly<Record<string, DeltaType>> = {
  VARCHAR: 'string',
  UUID: 'string',
  ENUM: 'string',
  BIGINT: 'long',
  INTEGER: 'integer',
  SMALLINT: 'short',
  TINYINT: 'byte',
  FLOAT: 'float',
  DOUBLE: 'double',
  BOOLEAN: 'boolean',
  BLOB: 'binary',
  DATE: 'date',
  'TIMESTAMP WITH TIME ZONE': 'timestamp',
};

/**
 * The Delta type of a SQL column type as engines name it; null when files of that type cannot stand in such a table
 * (unsigned integers, times without a zone, nested types): cast it in the transform.
 */
export function deltaTypeOf(sqlType: string): DeltaType | null {
  const upper = sqlType.toUpperCase();
  const decimal = /^DECIMAL\((\d+),\s*(\d+)\)$/.exec(upper);
  if (decimal !== null) return `decimal(${Number(decimal[1])},${Number(decimal[2])})`;
  return deltaTypes[upper.startsWith('ENUM') ? 'ENUM' : upper] ?? null;
}
