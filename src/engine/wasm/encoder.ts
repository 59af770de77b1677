/**
 * A WebAssembly module written byte by byte: straight-line SIMD kernels need no compiler, only an encoder. Instructions go
 * onto a function in stack order, under their names of the text format: `f.get(a).get(b).op('i32.add').set(c)`.
 */
import { setFlagsFromString } from 'node:v8';

export const i32 = 0x7f;
export const i64 = 0x7e;
export const f32 = 0x7d;
export const f64 = 0x7c;
export const v128 = 0x7b;
export type ValueType = typeof i32 | typeof i64 | typeof f32 | typeof f64 | typeof v128;

export const pageBytes = 65_536;

/** Bytes that grow. */
export class ByteBuffer {
  #bytes = new Uint8Array(4096);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  byte(value: number): this {
    if (this.#length === this.#bytes.length) this.#reserve(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  append(bytes: ArrayLike<number>): this {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** An unsigned 32-bit number in LEB128. */
  unsigned(value: number): this {
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    return this.byte(rest);
  }

  /** A signed 32-bit number in LEB128. */
  signed(value: number): this {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }

  float(value: number): this {
    return this.append(new Uint8Array(Float32Array.of(value).buffer));
  }

  double(value: number): this {
    return this.append(new Uint8Array(Float64Array.of(value).buffer));
  }

  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.unsigned(bytes.length).append(bytes);
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}

const simdPrefix = 0xfd;

/** Instructions without operands of their own; numbers from 0x100 on are vector instructions. */
const opcodes = {
  drop: 0x1a,
  select: 0x1b,
  return: 0x0f,
  else: 0x05,
  end: 0x0b,
  'i32.eqz': 0x45,
  'i32.eq': 0x46,
  'i32.ne': 0x47,
  'i32.lt_s': 0x48,
  'i32.lt_u': 0x49,
  'i32.gt_s': 0x4a,
  'i32.gt_u': 0x4b,
  'i32.le_s': 0x4c,
  'i32.le_u': 0x4d,
  'i32.ge_s': 0x4e,
  'i32.ge_u': 0x4f,
  'f32.eq': 0x5b,
  'f32.ne': 0x5c,
  'f32.lt': 0x5d,
  'f32.gt': 0x5e,
  'f32.le': 0x5f,
  'f32.ge': 0x60,
  'f64.eq': 0x61,
  'f64.ne': 0x62,
  'f64.lt': 0x63,
  'f64.gt': 0x64,
  'f64.le': 0x65,
  'f64.ge': 0x66,
  'i32.popcnt': 0x69,
  'i32.add': 0x6a,
  'i32.sub': 0x6b,
  'i32.mul': 0x6c,
  'i32.and': 0x71,
  'i32.or': 0x72,
  'i32.xor': 0x73,
  'i32.shl': 0x74,
  'i32.shr_s': 0x75,
  'i32.shr_u': 0x76,
  'i64.add': 0x7c,
  'f32.add': 0x92,
  'f32.sub': 0x93,
  'f32.mul': 0x94,
  'f32.div': 0x95,
  'f32.min': 0x96,
  'f32.max': 0x97,
  'f64.abs': 0x99,
  'f64.add': 0xa0,
  'f64.sub': 0xa1,
  'f64.mul': 0xa2,
  'f64.div': 0xa3,
  'f64.min': 0xa4,
  'f64.max': 0xa5,
  'f32.convert_i32_s': 0xb2,
  'f32.demote_f64': 0xb6,
  'f64.convert_i32_s': 0xb7,
  'f64.convert_i32_u': 0xb8,
  'f64.promote_f32': 0xbb,
  'i32.reinterpret_f32': 0xbc,
  'f32.reinterpret_i32': 0xbe,
  'i8x16.splat': 0x100 + 15,
  'i32x4.splat': 0x100 + 17,
  'f32x4.splat': 0x100 + 19,
  'f64x2.splat': 0x100 + 20,
  'f32x4.eq': 0x100 + 65,
  'f32x4.ne': 0x100 + 66,
  'f32x4.lt': 0x100 + 67,
  'f32x4.gt': 0x100 + 68,
  'f32x4.le': 0x100 + 69,
  'f32x4.ge': 0x100 + 70,
  'v128.not': 0x100 + 77,
  'v128.and': 0x100 + 78,
  'v128.andnot': 0x100 + 79,
  'v128.or': 0x100 + 80,
  'v128.xor': 0x100 + 81,
  'v128.bitselect': 0x100 + 82,
  'i32x4.shl': 0x100 + 171,
  'i32x4.shr_s': 0x100 + 172,
  'i32x4.shr_u': 0x100 + 173,
  'i32x4.add': 0x100 + 174,
  'i32x4.sub': 0x100 + 177,
  'i32x4.min_s': 0x100 + 182,
  'i32x4.max_s': 0x100 + 184,
  'i64x2.shl': 0x100 + 203,
  'i64x2.shr_u': 0x100 + 205,
  'f32x4.add': 0x100 + 228,
  'f32x4.sub': 0x100 + 229,
  'f32x4.mul': 0x100 + 230,
  'f32x4.div': 0x100 + 231,
  'f32x4.min': 0x100 + 232,
  'f32x4.max': 0x100 + 233,
  'f32x4.pmin': 0x100 + 234,
  'f32x4.pmax': 0x100 + 235,
  'f64x2.add': 0x100 + 240,
  'f64x2.sub': 0x100 + 241,
  'f64x2.mul': 0x100 + 242,
  'f64x2.min': 0x100 + 244,
  'f64x2.max': 0x100 + 245,
  'f64x2.pmin': 0x100 + 246,
  'f64x2.pmax': 0x100 + 247,
  'f64x2.promote_low_f32x4': 0x100 + 95,
  'f64x2.convert_low_i32x4_s': 0x100 + 254,
  'i32x4.trunc_sat_f32x4_s': 0x100 + 248,
  'i32x4.trunc_sat_f64x2_s_zero': 0x100 + 252,
  'f32x4.convert_i32x4_s': 0x100 + 250,
} as const;

export type Instruction = keyof typeof opcodes;

/** Loads and stores: opcode and natural alignment (as a power of two). */
const memoryOpcodes = {
  'i32.load': [0x28, 2],
  'i64.load': [0x29, 3],
  'f32.load': [0x2a, 2],
  'f64.load': [0x2b, 3],
  'i32.load8_s': [0x2c, 0],
  'i32.load8_u': [0x2d, 0],
  'i32.load16_s': [0x2e, 1],
  'i32.load16_u': [0x2f, 1],
  'i32.store': [0x36, 2],
  'i64.store': [0x37, 3],
  'f32.store': [0x38, 2],
  'f64.store': [0x39, 3],
  'i32.store8': [0x3a, 0],
  'i32.store16': [0x3b, 1],
  'v128.load': [0x100 + 0, 4],
  'v128.store': [0x100 + 11, 4],
  'v128.load64_zero': [0x100 + 93, 3],
} as const;

export type MemoryInstruction = keyof typeof memoryOpcodes;

/** Instructions with the number of a lane. */
const laneOpcodes = {
  'i32x4.extract_lane': 27,
  'f32x4.extract_lane': 31,
  'i32x4.replace_lane': 28,
  'f32x4.replace_lane': 32,
} as const;

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
    const [code, alignment] = memoryOpcodes[instruction];
    this.#opcode(code);
    this.#code.unsigned(alignment).unsigned(offset);
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

/** Hands out addresses of a memory that is laid out before it exists. */
export class MemoryLayout {
  #next = 64;

  /** The address of `bytes` new bytes. */
  reserve(bytes: number, alignment = 64): number {
    const address = Math.ceil(this.#next / alignment) * alignment;
    this.#next = address + bytes;
    return address;
  }

  get bytes(): number {
    return this.#next;
  }

  get pages(): number {
    return Math.ceil(this.#next / pageBytes);
  }
}

/** A module that runs on its memory. */
export interface Instance {
  readonly memory: WebAssembly.Memory;
  readonly codeBytes: number;
  readonly exports: Readonly<Record<string, unknown>>;
  /** The exported function of that name; parameters and results are numbers. */
  find(name: string): (...values: number[]) => number;
}

export interface InstantiateOptions {
  /** Another instance whose memory is used and whose exports may be imported. */
  readonly on?: Instance;
  /** `late`: see `compileLate`. */
  readonly optimise?: 'early' | 'late';
}

/** `module` may be code that was encoded for a memory of so many pages. */
export function instantiate(
  module: ModuleBuilder | Uint8Array<ArrayBuffer>,
  layout: Pick<MemoryLayout, 'pages'>,
  { on, optimise = 'early' }: InstantiateOptions = {},
): Instance {
  const code = module instanceof ModuleBuilder ? module.encode(layout.pages) : module;
  const memory = on?.memory ?? new WebAssembly.Memory({ initial: layout.pages });
  const compiled = optimise === 'late' ? compileLate(code) : new WebAssembly.Module(code);
  const instance = new WebAssembly.Instance(compiled, { env: { ...on?.exports, memory } });
  return {
    memory,
    codeBytes: code.length,
    exports: instance.exports,
    find(name) {
      const found = instance.exports[name];
      if (typeof found !== 'function') throw new Error(`the compiled module exports no function ${name}`);
      return (...values) => Number(found(...values));
    },
  };
}

/** V8's default, and what leaves a function alone until it has run for tens of millions of rows. */
const tieringBudget = { usual: 1_800_000, late: 1_000_000_000 };

/**
 * Straight-line vector code is as fast from V8's baseline compiler as from its optimising one, which would take half a
 * second of other cores' time over the hundreds of functions of a model. V8 gives each function its budget when the module
 * is made, so the flag is changed for that moment only.
 */
function compileLate(code: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  setFlagsFromString(`--wasm-tiering-budget=${tieringBudget.late}`);
  try {
    return new WebAssembly.Module(code);
  } finally {
    setFlagsFromString(`--wasm-tiering-budget=${tieringBudget.usual}`);
  }
}
