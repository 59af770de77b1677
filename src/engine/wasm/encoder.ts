/**
 * A WebAssembly module written byte by byte: straight-line SIMD kernels need no compiler, only an encoder. Instructions go
 * onto a function in stack order, under their names of the text format: `f.get(a).get(b).op('i32.add').set(c)`.
 */
import { ByteBuffer } from './bytes.ts';
import {
  type Instruction,
  laneLoadOpcodes,
  laneOpcodes,
  type MemoryInstruction,
  memoryOpcodes,
  opcodes,
} from './instructions.ts';

export const i32 = 0x7f;
export const i64 = 0x7e;
export const f32 = 0x7d;
export const f64 = 0x7c;
export const v128 = 0x7b;
export type ValueType = typeof i32 | typeof i64 | typeof f32 | typeof f64 | typeof v128;

const simdPrefix = 0xfd;

/** The number of a local variable or parameter. */
export type Local = number;

/** A function under construction; parameters are locals 0, 1, … */
export class FunctionBody {
  readonly #code = new ByteBuffer();
  readonly #locals: ValueType[] = [];

  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];

  constructor(type: { readonly parameters?: readonly ValueType[]; readonly results?: readonly ValueType[] } = {}) {
    this.parameters = type.parameters ?? [];
    this.results = type.results ?? [];
  }

  local(type: ValueType): Local {
    return this.parameters.length + this.#locals.push(type) - 1;
  }

  get(local: Local): this {
    this.#code.byte(0x20).unsigned(local);
    return this;
  }

  set(local: Local): this {
    this.#code.byte(0x21).unsigned(local);
    return this;
  }

  tee(local: Local): this {
    this.#code.byte(0x22).unsigned(local);
    return this;
  }

  i32(value: number): this {
    this.#code.byte(0x41).signed(value);
    return this;
  }

  i64(value: number): this {
    this.#code.byte(0x42).signed(value);
    return this;
  }

  f32(value: number): this {
    this.#code.byte(0x43).float(value);
    return this;
  }

  f64(value: number): this {
    this.#code.byte(0x44).double(value);
    return this;
  }

  /** A vector of 16 equal bytes. */
  bytes16(value: number): this {
    this.#code.byte(simdPrefix).unsigned(12).append(new Uint8Array(16).fill(value));
    return this;
  }

  op(instruction: Instruction): this {
    return this.#opcode(opcodes[instruction]);
  }

  /** A load or store at the address on the stack plus `offset` bytes. */
  memory(instruction: MemoryInstruction, offset: number): this {
    // Not taken apart as a list: hundreds of thousands of these are written while the code is still cold.
    const entry = memoryOpcodes[instruction];
    this.#opcode(entry[0]);
    this.#code.byte(entry[1]).unsigned(offset);
    return this;
  }

  /** Loads one lane of the vector on the stack from the address below it plus `offset` bytes. */
  loadLane(instruction: keyof typeof laneLoadOpcodes, offset: number, lane: number): this {
    const [code, alignment] = laneLoadOpcodes[instruction];
    this.#opcode(code);
    this.#code.unsigned(alignment).unsigned(offset).byte(lane);
    return this;
  }

  /** Four 32-bit lanes of the two vectors on the stack, which are numbered 0 to 7. */
  shuffle32(lanes: readonly [number, number, number, number]): this {
    const bytes = lanes.flatMap(lane => [0, 1, 2, 3].map(byte => lane * 4 + byte));
    this.#code.byte(simdPrefix).unsigned(13).append(bytes);
    return this;
  }

  lane(instruction: keyof typeof laneOpcodes, lane: number): this {
    this.#code.byte(simdPrefix).unsigned(laneOpcodes[instruction]).byte(lane);
    return this;
  }

  call(functionIndex: number): this {
    this.#code.byte(0x10).unsigned(functionIndex);
    return this;
  }

  /** Opens a block, loop or if without a value; close it with `op('end')`. */
  open(kind: 'block' | 'loop' | 'if'): this {
    this.#code.byte({ block: 0x02, loop: 0x03, if: 0x04 }[kind]).byte(0x40);
    return this;
  }

  branch(depth: number): this {
    this.#code.byte(0x0c).unsigned(depth);
    return this;
  }

  branchIf(depth: number): this {
    this.#code.byte(0x0d).unsigned(depth);
    return this;
  }

  /** `for (counter = 0; counter < end; counter += step) body()`, run at least once. */
  countUp(counter: Local, end: number, step: number, body: () => void): this {
    this.i32(0).set(counter).open('loop');
    body();
    this.get(counter).i32(step).op('i32.add').tee(counter);
    return this.i32(end).op('i32.lt_u').branchIf(0).op('end');
  }

  /** `while (counter < end) body()`, compared without sign; the body advances the counter. */
  whileBelow(counter: Local, end: Local, body: () => void): this {
    this.get(counter).get(end).op('i32.lt_u').open('if').open('loop');
    body();
    return this.get(counter).get(end).op('i32.lt_u').branchIf(0).op('end').op('end');
  }

  encode(): Uint8Array {
    const runs: { type: ValueType; count: number }[] = [];
    for (const type of this.#locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    const body = new ByteBuffer().unsigned(runs.length);
    for (const { type, count } of runs) body.unsigned(count).byte(type);
    return body.append(this.#code.finish()).byte(0x0b).finish();
  }

  #opcode(code: number): this {
    if (code < 0x100) this.#code.byte(code);
    else this.#code.byte(simdPrefix).unsigned(code - 0x100);
    return this;
  }
}

/** Types of a function's parameters and results. */
export type Signature = Pick<FunctionBody, 'parameters' | 'results'>;

/** A module that imports one memory (`env.memory`) and functions, and exports functions. */
export class ModuleBuilder {
  readonly #types: string[] = [];
  readonly #imports: { readonly type: number; readonly name: string }[] = [];
  readonly #functions: { readonly type: number; readonly body: FunctionBody }[] = [];
  readonly #exports: { readonly name: string; readonly index: number }[] = [];

  /** A function of another module (`env.<name>`) and its index here; imports come before the first `add`. */
  import(name: string, signature: Signature): number {
    if (this.#functions.length > 0) throw new Error(`${name} is imported after a function was added`);
    return this.#imports.push({ type: this.#typeOf(signature), name }) - 1;
  }

  /** Adds a function and returns its index; with a name it is exported. */
  add(body: FunctionBody, name?: string): number {
    const index = this.#imports.length + this.#functions.push({ type: this.#typeOf(body), body }) - 1;
    if (name !== undefined) this.#exports.push({ name, index });
    return index;
  }

  #typeOf({ parameters, results }: Signature): number {
    const signature = new ByteBuffer().byte(0x60).unsigned(parameters.length).append(parameters);
    const key = signature.unsigned(results.length).append(results).finish().join(' ');
    const known = this.#types.indexOf(key);
    return known < 0 ? this.#types.push(key) - 1 : known;
  }

  /**
   * The module's bytes; it asks for a memory of at least this many pages of 64 KiB, or for one that threads share, which
   * has exactly so many.
   */
  encode(memoryPages: number, memory: 'own' | 'shared' = 'own'): Uint8Array<ArrayBuffer> {
    const out = new ByteBuffer().append([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const section = (id: number, count: number, write: (content: ByteBuffer) => void) => {
      const content = new ByteBuffer().unsigned(count);
      write(content);
      out.byte(id).unsigned(content.length).append(content.finish());
    };
    section(1, this.#types.length, content => {
      for (const key of this.#types) content.append(key.split(' ').map(Number));
    });
    section(2, 1 + this.#imports.length, content => {
      content.text('env').text('memory').byte(2);
      if (memory === 'own') content.byte(0).unsigned(memoryPages);
      else content.byte(3).unsigned(memoryPages).unsigned(memoryPages);
      for (const { name, type } of this.#imports) content.text('env').text(name).byte(0).unsigned(type);
    });
    section(3, this.#functions.length, content => {
      for (const { type } of this.#functions) content.unsigned(type);
    });
    section(7, this.#exports.length, content => {
      for (const { name, index } of this.#exports) content.text(name).byte(0).unsigned(index);
    });
    section(10, this.#functions.length, content => {
      for (const { body } of this.#functions) {
        const code = body.encode();
        content.unsigned(code.length).append(code);
      }
    });
    return out.finish();
  }
}
