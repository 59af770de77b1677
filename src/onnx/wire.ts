/**
 * The attributes of tree ensembles, read straight from the wire.
 *
 * A boosted ensemble is one graph node with a dozen attributes of hundreds of thousands of values. As messages they become
 * one BigInt or byte array per value (seconds, for a model that scores in microseconds); here they become typed arrays. The
 * rest of the model is small and goes through the generated classes, so `splitModel` cuts the two apart.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import {
  AttributeProto_AttributeType,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from './generated/onnx_pb.ts';

/** One attribute of a tree node; only the field that the file holds is set. */
export interface TreeAttribute {
  readonly number?: number;
  readonly text?: string;
  readonly tensor?: TensorProto;
  readonly floats: Float32Array;
  readonly ints: Float64Array;
  readonly strings: readonly string[];
}

export type TreeAttributes = ReadonlyMap<string, TreeAttribute>;

// Field numbers of onnx.proto; protobuf never reuses one.
const modelGraph = 7;
const modelMetadata = 14;
const graphNode = 1;
const graphOutput = 12;
const nodeOperator = 4;
const nodeAttribute = 5;
const attribute = { name: 1, float: 2, int: 3, text: 4, tensor: 5, floats: 7, ints: 8, strings: 9, type: 20 } as const;

/** A model without the attributes of its top-level tree nodes, and those attributes by position in `graph.node`. */
export interface SplitModel {
  readonly slim: Uint8Array;
  readonly trees: ReadonlyMap<number, TreeAttributes>;
}

export function splitModel(bytes: Uint8Array): SplitModel {
  const trees = new Map<number, TreeAttributes>();
  const slim = rewriteFields(bytes, (no, graph) => {
    if (no !== modelGraph) return 'keep';
    let index = -1;
    return rewriteFields(graph, (graphNo, node) => {
      if (graphNo !== graphNode) return 'keep';
      index++;
      if (!operatorOf(node).startsWith('TreeEnsemble')) return 'keep';
      const attributes = new Map<string, TreeAttribute>();
      const rest = rewriteFields(node, (nodeNo, payload) => {
        if (nodeNo !== nodeAttribute) return 'keep';
        const [name, value] = readAttribute(payload);
        attributes.set(name, value);
        return 'drop';
      });
      trees.set(index, attributes);
      return rest;
    });
  });
  return { slim, trees };
}

/** The model without some top-level nodes, with other graph outputs (encoded ValueInfoProto) and more metadata. */
export function replaceOutputs(
  bytes: Uint8Array,
  change: {
    readonly dropNodes: ReadonlySet<number>;
    readonly outputs: readonly Uint8Array[];
    readonly metadata: Readonly<Record<string, string>>;
  },
): Uint8Array {
  const changed = rewriteFields(bytes, (no, graph) => {
    if (no !== modelGraph) return 'keep';
    let index = -1;
    const kept = rewriteFields(graph, graphNo => {
      if (graphNo === graphOutput) return 'drop';
      if (graphNo !== graphNode) return 'keep';
      index++;
      return change.dropNodes.has(index) ? 'drop' : 'keep';
    });
    const writer = new BinaryWriter().raw(kept);
    for (const output of change.outputs) writer.tag(graphOutput, WireType.LengthDelimited).bytes(output);
    return writer.finish();
  });
  const writer = new BinaryWriter().raw(changed);
  for (const [key, value] of Object.entries(change.metadata)) {
    const entry = toBinary(StringStringEntryProtoSchema, create(StringStringEntryProtoSchema, { key, value }));
    writer.tag(modelMetadata, WireType.LengthDelimited).bytes(entry);
  }
  return writer.finish();
}

/** Copies a message, asking about each length-delimited field; everything else is kept as it is. */
function rewriteFields(
  message: Uint8Array,
  decide: (fieldNo: number, payload: Uint8Array) => 'keep' | 'drop' | Uint8Array,
): Uint8Array {
  const reader = new BinaryReader(message);
  const writer = new BinaryWriter();
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [no, wireType] = reader.tag();
    if (wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, no);
      writer.raw(message.subarray(start, reader.pos));
      continue;
    }
    const payload = reader.bytes();
    const decision = decide(no, payload);
    if (decision === 'drop') continue;
    if (decision === 'keep') writer.raw(message.subarray(start, reader.pos));
    else writer.tag(no, WireType.LengthDelimited).bytes(decision);
  }
  return writer.finish();
}

function operatorOf(node: Uint8Array): string {
  const reader = new BinaryReader(node);
  while (reader.pos < reader.len) {
    const [no, wireType] = reader.tag();
    if (no === nodeOperator) return reader.string();
    reader.skip(wireType, no);
  }
  return '';
}

function readAttribute(bytes: Uint8Array): [name: string, value: TreeAttribute] {
  const reader = new BinaryReader(bytes);
  const floats = new GrowingFloats();
  const ints = new GrowingInts();
  const strings = new InternedStrings();
  let name = '';
  let number: number | undefined;
  let type = 0;
  let text: string | undefined;
  let tensor: TensorProto | undefined;
  while (reader.pos < reader.len) {
    const [no, wireType] = reader.tag();
    if (no === attribute.name) name = reader.string();
    else if (no === attribute.float) number = reader.float();
    else if (no === attribute.int) number = Number(reader.int64());
    else if (no === attribute.text) text = reader.string();
    else if (no === attribute.tensor) tensor = fromBinary(TensorProtoSchema, reader.bytes());
    else if (no === attribute.type) type = reader.int32();
    // Unpacked, every value is a field of its own; the loops over runs of them are the hot ones.
    else if (no === attribute.floats) {
      if (wireType === WireType.LengthDelimited) floats.addPacked(reader.bytes());
      else reader.pos = floats.addRun(bytes, reader.pos);
    } else if (no === attribute.ints) {
      if (wireType === WireType.LengthDelimited) ints.addPacked(reader.bytes());
      else reader.pos = ints.addRun(bytes, reader.pos);
    } else if (no === attribute.strings) reader.pos = strings.addRun(bytes, reader.pos);
    else reader.skip(wireType, no);
  }
  // Writers of proto3 leave zeros out.
  if (type === AttributeProto_AttributeType.INT || type === AttributeProto_AttributeType.FLOAT) number ??= 0;
  const value: TreeAttribute = {
    floats: floats.finish(),
    ints: ints.finish(),
    strings: strings.values,
    ...(number === undefined ? {} : { number }),
    ...(text === undefined ? {} : { text }),
    ...(tensor === undefined ? {} : { tensor }),
  };
  return [name, value];
}

class GrowingFloats {
  #values = new Float32Array(16);
  #count = 0;

  addPacked(bytes: Uint8Array): void {
    const count = bytes.length >>> 2;
    this.#reserve(count);
    new Uint8Array(this.#values.buffer).set(bytes.subarray(0, count * 4), this.#count * 4);
    this.#count += count;
  }

  /** Adds the value at `at` and every following field with the same tag; returns the position after the last one. */
  addRun(bytes: Uint8Array, at: number): number {
    const tag = (attribute.floats << 3) | WireType.Bit32;
    let end = at + 4;
    while (bytes[end] === tag) end += 5;
    if (end > bytes.length) throw new RangeError('a float attribute ends in the middle of a value');
    const count = (end - at + 1) / 5;
    this.#reserve(count);
    const raw = new Uint8Array(this.#values.buffer);
    let to = this.#count * 4;
    for (let from = at; from < end; from += 5, to += 4) {
      raw[to] = bytes[from]!;
      raw[to + 1] = bytes[from + 1]!;
      raw[to + 2] = bytes[from + 2]!;
      raw[to + 3] = bytes[from + 3]!;
    }
    this.#count += count;
    return end;
  }

  finish(): Float32Array {
    return this.#values.subarray(0, this.#count);
  }

  #reserve(count: number): void {
    if (this.#count + count <= this.#values.length) return;
    const grown = new Float32Array(Math.max(this.#count + count, this.#count * 2));
    grown.set(this.#values);
    this.#values = grown;
  }
}

/** 64-bit integers as doubles: node and feature numbers are far below 2^53, and larger ones are refused later by range. */
class GrowingInts {
  #values = new Float64Array(16);
  #count = 0;

  addPacked(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at = this.#addVarint(bytes, at);
  }

  /** Adds the value at `at` and every following field with the same tag; returns the position after the last one. */
  addRun(bytes: Uint8Array, at: number): number {
    const tag = attribute.ints << 3;
    // Node and feature numbers of nearly all values fit one or two bytes.
    let next = at;
    for (;;) {
      const first = bytes[next]!;
      const second = bytes[next + 1]!;
      if (first < 0x80) {
        this.#add(first);
        next += 1;
      } else if (second < 0x80) {
        this.#add((first & 0x7f) | (second << 7));
        next += 2;
      } else next = this.#addVarint(bytes, next);
      if (bytes[next] !== tag) return next;
      next++;
    }
  }

  finish(): Float64Array {
    return this.#values.subarray(0, this.#count);
  }

  #addVarint(bytes: Uint8Array, at: number): number {
    let low = 0;
    let high = 0;
    let shift = 0;
    let next = at;
    for (;;) {
      const byte = bytes[next++];
      if (byte === undefined) throw new RangeError('an integer attribute ends in the middle of a value');
      if (shift < 28) low |= (byte & 0x7f) << shift;
      else if (shift === 28) {
        low |= (byte & 0x0f) << 28;
        high = (byte & 0x7f) >>> 4;
      } else if (shift < 70) high |= (byte & 0x7f) << (shift - 32);
      if (byte < 0x80) break;
      shift += 7;
    }
    this.#add(high === 0 ? low >>> 0 : high * 2 ** 32 + (low >>> 0));
    return next;
  }

  #add(value: number): void {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(this.#count * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#count++] = value;
  }
}

/** Branch modes are the same six words over and over: they are compared as bytes and decoded once. */
class InternedStrings {
  readonly values: string[] = [];
  readonly #known: { readonly bytes: Uint8Array; readonly text: string }[] = [];
  readonly #decoder = new TextDecoder();

  /** Adds the text at `at` and every following field with the same tag; returns the position after the last one. */
  addRun(bytes: Uint8Array, at: number): number {
    const tag = (attribute.strings << 3) | WireType.LengthDelimited;
    let next = at;
    for (;;) {
      let length = bytes[next]!;
      if (length < 0x80) next++;
      else {
        const reader = new BinaryReader(bytes.subarray(next));
        length = reader.uint32();
        next += reader.pos;
      }
      if (!(next + length <= bytes.length)) throw new RangeError('a text attribute ends in the middle of a value');
      this.values.push(this.#textAt(bytes, next, length));
      next += length;
      if (bytes[next] !== tag) return next;
      next++;
    }
  }

  #textAt(bytes: Uint8Array, at: number, length: number): string {
    for (const known of this.#known) if (holds(bytes, at, length, known.bytes)) return known.text;
    const found = bytes.slice(at, at + length);
    const text = this.#decoder.decode(found);
    if (this.#known.length < 16) this.#known.push({ bytes: found, text });
    return text;
  }
}

function holds(bytes: Uint8Array, at: number, length: number, wanted: Uint8Array): boolean {
  if (wanted.length !== length) return false;
  for (let i = 0; i < length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}
