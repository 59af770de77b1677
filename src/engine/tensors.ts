/**
 * Input tensors from vectors: the signature says which columns make which tensor, the contract says what a NULL becomes.
 * A tensor is filled column by column (one `set` per column, the cheapest way out of DuckDB) and transposed only for
 * models that want rows.
 */
import type { Contract, ContractColumn } from '../domain/contract.ts';
import type { InputColumn, InputTensor, Signature, TensorType } from '../domain/signature.ts';
import type { ArgumentList, CodeArgument } from './arguments.ts';
import { EngineFault } from './fault.ts';
import type { TensorData } from './onnx-session.ts';
import type { RowVectors } from './vectors.ts';

/** `columns`: all values of the first column, then of the second, …; `rows`: row after row. */
export type Layout = 'columns' | 'rows';

export interface FilledTensor {
  readonly name: string;
  readonly type: TensorType;
  readonly data: TensorData;
  readonly dims: readonly number[];
}

export interface TensorForm {
  /** The most rows of a call. */
  readonly rowsMax: number;
  readonly layout: Layout;
  /** Vocabulary of the codes that texts go as (see `onnx/coded-texts.ts`); null for texts as they are. */
  readonly texts: readonly string[] | null;
}

type Filler = (vectors: RowVectors, from: number, to: number, target: TensorData, offset: number) => void;
type NumberTarget = Float32Array | Float64Array;

/** Fills the tensors of one model, again and again, into the same buffers. */
export class TensorFiller {
  readonly #tensors: readonly TensorPlan[];

  constructor(signature: Signature, contract: Contract, args: ArgumentList, form: TensorForm) {
    const columns = new Map(contract.columns.map(column => [column.name, column]));
    this.#tensors = signature.inputs.map(input => planTensor(input, columns, args, form));
  }

  /**
   * Tensors of the rows [from, to) of a vector. The data is valid until the next call; tensors of `rowsMax` rows are the
   * same objects every time.
   */
  fill(vectors: RowVectors, from: number, to: number): readonly FilledTensor[] {
    return this.#tensors.map(plan => plan.fill(vectors, from, to));
  }
}

interface TensorPlan {
  fill(vectors: RowVectors, from: number, to: number): FilledTensor;
}

function planTensor(
  input: InputTensor,
  contract: ReadonlyMap<string, ContractColumn>,
  args: ArgumentList,
  { rowsMax, layout, texts }: TensorForm,
): TensorPlan {
  const { name } = input;
  const width = input.columns.length;
  const type = input.type === 'string' && texts !== null ? 'int64' : input.type;
  const fillers = input.columns.map(column => {
    const rule = contract.get(column.column) ?? null;
    return type === input.type
      ? planColumn(input, column, rule, args)
      : codedText(input, column, rule, { args, texts });
  });
  const dimsOf = (rows: number) => {
    if (input.rank === 1) return [rows];
    return layout === 'columns' && width > 1 ? [width, rows] : [rows, width];
  };
  if (type === 'string') return planTexts(input, fillers, dimsOf);
  const columns = newArray(type, rowsMax * width);
  const rowsBuffer = layout === 'rows' && width > 1 ? newArray(type, rowsMax * width) : null;
  const tensorOf = (rows: number) => {
    const data = (rowsBuffer ?? columns).subarray(0, rows * width);
    return { name, type, data, dims: dimsOf(rows) };
  };
  const full = tensorOf(rowsMax);
  return {
    fill(vectors, from, to) {
      const rows = to - from;
      for (let column = 0; column < width; column++) fillers[column]!(vectors, from, to, columns, column * rows);
      if (rowsBuffer !== null) transpose(columns, rowsBuffer, rows, width);
      return rows === rowsMax ? full : tensorOf(rows);
    },
  };
}

/** String tensors go as plain arrays, row after row; they are never the fast path. */
function planTexts(input: InputTensor, fillers: readonly Filler[], dimsOf: (rows: number) => number[]): TensorPlan {
  const width = input.columns.length;
  return {
    fill(vectors, from, to) {
      const rows = to - from;
      const data = new Array<string>(rows * width);
      for (let column = 0; column < width; column++) {
        const texts = new Array<string>(rows);
        fillers[column]!(vectors, from, to, texts, 0);
        for (let row = 0; row < rows; row++) data[row * width + column] = texts[row]!;
      }
      return { name: input.name, type: 'string', data, dims: dimsOf(rows) };
    },
  };
}

export type NumericArray = Exclude<TensorData, readonly string[]>;

export function newArray(type: InputTensor['type'], length: number): NumericArray {
  switch (type) {
    case 'float32':
      return new Float32Array(length);
    case 'float64':
      return new Float64Array(length);
    case 'int64':
      return new BigInt64Array(length);
    case 'int32':
      return new Int32Array(length);
    case 'bool':
      return new Uint8Array(length);
    case 'string':
      throw new Error('string tensors are no typed arrays');
  }
}

/** Blocks of 64 rows keep both sides in the first-level cache. */
function transpose(columns: NumericArray, rows: NumericArray, rowCount: number, width: number): void {
  const source = columns as Float32Array;
  const target = rows as Float32Array;
  for (let from = 0; from < rowCount; from += 64) {
    const to = Math.min(from + 64, rowCount);
    for (let column = 0; column < width; column++) {
      const base = column * rowCount;
      for (let row = from, out = from * width + column; row < to; row++, out += width)
        target[out] = source[base + row]!;
    }
  }
}

function planColumn(tensor: InputTensor, input: InputColumn, rule: ContractColumn | null, args: ArgumentList): Filler {
  switch (tensor.type) {
    case 'float32':
    case 'float64':
      return input.kind === 'code' ? floatCode(input, rule, args) : floatNumber(tensor, input, rule, args);
    case 'int64':
    case 'int32':
    case 'bool':
      return input.kind === 'code' ? wholeCode(input, rule, args) : wholeNumber(tensor, input, rule, args);
    case 'string':
      return text(tensor, input, rule, args);
  }
}

function floatNumber(tensor: InputTensor, input: InputColumn, rule: ContractColumn | null, args: ArgumentList): Filler {
  if (input.kind === 'string') throw wrongKind(tensor, input);
  const { values } = args.number(input.column);
  const replacement = rule?.nulls.as === 'default' ? Number(rule.nulls.default) : Number.NaN;
  return (vectors, from, to, target, offset) => {
    const numbers = target as NumberTarget;
    const items = vectors.numbers(values);
    numbers.set(from === 0 && to === vectors.rows ? items : items.subarray(from, to), offset);
    for (const row of vectors.nullRows(values)) if (row >= from && row < to) numbers[offset + row - from] = replacement;
  };
}

/** What a code or a NULL of a category becomes; a default is looked up in the vocabulary. */
function codeOfDefault(vocabulary: readonly string[], rule: ContractColumn | null): number | null {
  if (rule?.nulls.as !== 'default') return null;
  const code = vocabulary.indexOf(String(rule.nulls.default));
  return code >= 0 ? code : vocabulary.length;
}

function floatCode(
  input: Extract<InputColumn, { kind: 'code' }>,
  rule: ContractColumn | null,
  args: ArgumentList,
): Filler {
  const { codes, isNull } = args.code(input.column, input.vocabulary);
  const forNull = codeOfDefault(input.vocabulary, rule) ?? Number.NaN;
  return (vectors, from, to, target, offset) => {
    const numbers = target as NumberTarget;
    numbers.set(vectors.numbers(codes).subarray(from, to), offset);
    const nulls = vectors.numbers(isNull);
    for (const row of vectors.nullRows(codes)) {
      if (row >= from && row < to) numbers[offset + row - from] = nulls[row] === 1 ? forNull : input.vocabulary.length;
    }
  };
}

function wholeCode(
  input: Extract<InputColumn, { kind: 'code' }>,
  rule: ContractColumn | null,
  args: ArgumentList,
): Filler {
  const forNull = codeOfDefault(input.vocabulary, rule) ?? -1;
  return codeFiller(args.code(input.column, input.vocabulary), input.vocabulary, () => forNull);
}

/** A text as a code of the vocabulary, for a model that was changed to take them. */
function codedText(
  tensor: InputTensor,
  input: InputColumn,
  rule: ContractColumn | null,
  { args, texts }: { readonly args: ArgumentList; readonly texts: readonly string[] | null },
): Filler {
  if (input.kind !== 'string') throw wrongKind(tensor, input);
  const vocabulary = texts ?? [];
  // Rows that go to quarantine pass through here too; any code does for them, their prediction is dropped.
  const forNull = rule?.nulls.as === 'quarantine' ? 0 : codeOfDefault(vocabulary, rule);
  return codeFiller(args.code(input.column, vocabulary), vocabulary, () => {
    if (forNull === null) throw nullInText(tensor, input.column);
    return forNull;
  });
}

/** Codes as whole numbers: what is not in the vocabulary has the code behind its last, and `forNull` says what a NULL has. */
function codeFiller({ codes, isNull }: CodeArgument, vocabulary: readonly string[], forNull: () => number): Filler {
  return (vectors, from, to, target, offset) => {
    const put = codeWriter(target);
    const items = vectors.numbers(codes);
    for (let row = from; row < to; row++) put(offset + row - from, items[row]!);
    const unknown = vectors.nullRows(codes);
    if (unknown.length === 0) return;
    const nulls = vectors.numbers(isNull);
    for (const row of unknown) {
      if (row >= from && row < to) put(offset + row - from, nulls[row] === 1 ? forNull() : vocabulary.length);
    }
  };
}

/** Writes codes into a tensor. An int64 is written as its two halves: a BigInt for each costs as much as scoring its row. */
function codeWriter(target: TensorData): (at: number, code: number) => void {
  if (!(target instanceof BigInt64Array)) {
    const whole = target as Int32Array;
    return (at, code) => {
      whole[at] = code;
    };
  }
  const halves = new Int32Array(target.buffer, target.byteOffset, target.length * 2);
  return (at, code) => {
    halves[at * 2] = code;
    halves[at * 2 + 1] = code >> 31;
  };
}

function wholeNumber(tensor: InputTensor, input: InputColumn, rule: ContractColumn | null, args: ArgumentList): Filler {
  if (input.kind === 'string') throw wrongKind(tensor, input);
  const argument = args.integer(input.column, tensor.type === 'int64' ? 64 : 32);
  const replacement = rule?.nulls.as === 'default' ? Number(rule.nulls.default) : null;
  const rowsOfNull = (vectors: RowVectors, from: number, to: number) => {
    const rows = vectors.nullRows(argument).filter(row => row >= from && row < to);
    // Rows that go to quarantine pass through here too; any integer does for them, their prediction is dropped.
    if (rows.length > 0 && replacement === null && rule?.nulls.as !== 'quarantine')
      throw nullInInteger(tensor, input.column);
    return rows;
  };
  if (tensor.type === 'int64') {
    return (vectors, from, to, target, offset) => {
      const whole = target as BigInt64Array;
      whole.set(vectors.bigints(argument).subarray(from, to), offset);
      for (const row of rowsOfNull(vectors, from, to)) whole[offset + row - from] = BigInt(replacement ?? 0);
    };
  }
  return (vectors, from, to, target, offset) => {
    const whole = target as Int32Array;
    whole.set(vectors.numbers(argument).subarray(from, to), offset);
    for (const row of rowsOfNull(vectors, from, to)) whole[offset + row - from] = replacement ?? 0;
  };
}

function text(tensor: InputTensor, input: InputColumn, rule: ContractColumn | null, args: ArgumentList): Filler {
  if (input.kind !== 'string') throw wrongKind(tensor, input);
  const argument = args.text(input.column);
  const replacement = rule?.nulls.as === 'default' ? String(rule.nulls.default) : null;
  return (vectors, from, to, target, offset) => {
    const texts = target as string[];
    for (let row = from; row < to; row++) {
      const value = vectors.text(argument, row) ?? replacement;
      if (value === null && rule?.nulls.as !== 'quarantine') throw nullInText(tensor, input.column);
      texts[offset + row - from] = value ?? '';
    }
  };
}

function wrongKind(tensor: InputTensor, input: InputColumn): EngineFault {
  return new EngineFault(
    'bad_model',
    `input ${tensor.name} is ${tensor.type}, but column ${input.column} is given as ${input.kind}`,
    {
      input: tensor.name,
      column: input.column,
    },
  );
}

function nullInInteger(tensor: InputTensor, column: string): EngineFault {
  return new EngineFault(
    'bad_input',
    `column ${column} has a NULL, and input ${tensor.name} is ${tensor.type}, which has no NaN; ` +
      `declare nulls: { as: default } or { as: quarantine } for it`,
    { column, input: tensor.name },
  );
}

function nullInText(tensor: InputTensor, column: string): EngineFault {
  return new EngineFault(
    'bad_input',
    `column ${column} has a NULL, and input ${tensor.name} takes texts; declare nulls: { as: default } or { as: quarantine }`,
    { column, input: tensor.name },
  );
}
