/** Tensors of ONNX files to and from plain arrays. */
import { create } from '@bufbuild/protobuf';
import { TensorProto_DataType as DataType, type TensorProto, TensorProtoSchema } from './generated/onnx_pb.ts';

const utf8 = new TextEncoder();
const utf8Decoder = new TextDecoder();

export function floatTensor(name: string, dims: readonly number[], values: Iterable<number>): TensorProto {
  return rawTensor({ name, dims, dataType: DataType.FLOAT, data: Float32Array.from(values) });
}

export function doubleTensor(name: string, dims: readonly number[], values: Iterable<number>): TensorProto {
  return rawTensor({ name, dims, dataType: DataType.DOUBLE, data: Float64Array.from(values) });
}

export function int64Tensor(name: string, dims: readonly number[], values: Iterable<number>): TensorProto {
  return rawTensor({ name, dims, dataType: DataType.INT64, data: BigInt64Array.from(values, BigInt) });
}

export function uint8Tensor(name: string, dims: readonly number[], values: Iterable<number>): TensorProto {
  return rawTensor({ name, dims, dataType: DataType.UINT8, data: Uint8Array.from(values) });
}

export function stringTensor(name: string, dims: readonly number[], values: Iterable<string>): TensorProto {
  const stringData = Array.from(values, value => utf8.encode(value));
  assertElements(name, dims, stringData.length);
  return create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: DataType.STRING, stringData });
}

function rawTensor(tensor: {
  name: string;
  dims: readonly number[];
  dataType: DataType;
  data: Float32Array | Float64Array | BigInt64Array | Uint8Array;
}): TensorProto {
  const { name, dims, dataType, data } = tensor;
  assertElements(name, dims, data.length);
  // Raw data is little-endian, and so is every machine ONNX Runtime ships for.
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType, rawData });
}

function assertElements(name: string, dims: readonly number[], found: number): void {
  const expected = dims.reduce((product, size) => product * size, 1);
  if (expected !== found)
    throw new RangeError(`tensor ${name}: shape [${dims}] needs ${expected} values, got ${found}`);
}

/** The values of a numeric tensor as numbers; 64-bit integers beyond 2^53 lose their last digits. */
export function tensorNumbers(tensor: TensorProto): ArrayLike<number> {
  const raw = tensor.rawData;
  if (raw.length === 0) {
    if (tensor.floatData.length > 0) return tensor.floatData;
    if (tensor.doubleData.length > 0) return tensor.doubleData;
    if (tensor.int32Data.length > 0) return tensor.int32Data;
    if (tensor.int64Data.length > 0) return Float64Array.from(tensor.int64Data, Number);
    return Float64Array.from(tensor.uint64Data, Number);
  }
  // The bytes may lie at any offset of the file, typed arrays may not.
  const buffer = raw.slice().buffer;
  switch (tensor.dataType) {
    case DataType.FLOAT:
      return new Float32Array(buffer);
    case DataType.DOUBLE:
      return new Float64Array(buffer);
    case DataType.INT64:
      return Float64Array.from(new BigInt64Array(buffer), Number);
    case DataType.INT32:
      return new Int32Array(buffer);
    case DataType.UINT8:
    case DataType.BOOL:
      return new Uint8Array(buffer);
    case DataType.INT8:
      return new Int8Array(buffer);
    default:
      throw new TypeError(`tensor ${tensor.name}: cannot read values of ${dataTypeName(tensor.dataType)}`);
  }
}

export function tensorStrings(tensor: TensorProto): string[] {
  return tensor.stringData.map(bytes => utf8Decoder.decode(bytes));
}

const bytesPerElement = new Map<number, number>([
  [DataType.FLOAT, 4],
  [DataType.UINT8, 1],
  [DataType.INT8, 1],
  [DataType.UINT16, 2],
  [DataType.INT16, 2],
  [DataType.INT32, 4],
  [DataType.INT64, 8],
  [DataType.BOOL, 1],
  [DataType.FLOAT16, 2],
  [DataType.DOUBLE, 8],
  [DataType.UINT32, 4],
  [DataType.UINT64, 8],
  [DataType.BFLOAT16, 2],
]);

/** Size of one element of a tensor's raw data, or null where elements have no whole number of bytes. */
export function elementBytes(dataType: number): number | null {
  return bytesPerElement.get(dataType) ?? null;
}

/** `FLOAT`, `INT64`, …, for messages. */
export function dataTypeName(dataType: number): string {
  for (const [name, value] of Object.entries(DataType)) if (value === dataType) return name;
  return `data type ${dataType}`;
}
