/**
 * Just enough of a WebAssembly assembler for the histogram kernel: instructions are byte lists, a module is functions over
 * one imported shared memory. Section and opcode numbers are those of the core specification 2.0, chapter 5.
 */
export type Code = readonly number[];

const I32 = 0x7f;

export interface WasmFunction {
  readonly name: string;
  /** All parameters, locals and results are i32: addresses, counters and row numbers. */
  readonly parameters: number;
  readonly locals: number;
  /** i64 locals, numbered after the i32 ones. */
  readonly locals64: number;
  readonly returns: boolean;
  readonly body: Code;
}

/** A module that imports `env.memory` (shared, `pages` at least and at most) and exports each function by its name. */
export function assembleModule(functions: readonly WasmFunction[], pages: number): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ parameters, returns }) => [
    0x60,
    ...vector(Array.from({ length: parameters }, () => [I32])),
    ...vector(returns ? [[I32]] : []),
  ]);
  const memory = [...text('env'), ...text('memory'), 0x02, 0x03, ...unsigned(pages), ...unsigned(pages)];
  const bodies = functions.map(({ locals, locals64, body }) => {
    const code = [
      ...vector([
        [...unsigned(locals), I32],
        [...unsigned(locals64), 0x7e],
      ]),
      ...body,
      0x0b,
    ];
    return [...unsigned(code.length), ...code];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, vector(types)),
    ...section(2, vector([memory])),
    ...section(3, vector(functions.map((_, index) => unsigned(index)))),
    ...section(7, vector(functions.map(({ name }, index) => [...text(name), 0x00, ...unsigned(index)]))),
    ...section(10, vector(bodies)),
  ]);
}

export const wasm = {
  get: (local: number): Code => [0x20, ...unsigned(local)],
  set: (local: number): Code => [0x21, ...unsigned(local)],
  tee: (local: number): Code => [0x22, ...unsigned(local)],
  constant: (value: number): Code => [0x41, ...signed(value)],
  add: [0x6a],
  subtract: [0x6b],
  shiftLeft: [0x74],
  lessUnsigned: [0x49],
  select: [0x1b],
  load: (offset: number): Code => [0x28, 2, ...unsigned(offset)],
  load8: (offset: number): Code => [0x2d, 0, ...unsigned(offset)],
  store: (offset: number): Code => [0x36, 2, ...unsigned(offset)],
  load64: (offset: number): Code => [0x29, 3, ...unsigned(offset)],
  store64: (offset: number): Code => [0x37, 3, ...unsigned(offset)],
  constant64: (value: number): Code => [0x42, ...signed(value)],
  add64: [0x7c],
  loadVector: (offset: number): Code => [0xfd, 0x00, 4, ...unsigned(offset)],
  /** Loads 8 bytes into the low half and clears the high half. */
  loadVectorLow: (offset: number): Code => [0xfd, 0x5d, 3, ...unsigned(offset)],
  storeVector: (offset: number): Code => [0xfd, 0x0b, 4, ...unsigned(offset)],
  addDoubles: [0xfd, 0xf0, 0x01],
  subtractDoubles: [0xfd, 0xf1, 0x01],
  /** The two low signed 32-bit lanes as two doubles. */
  doublesOfLowIntegers: [0xfd, 0xfe, 0x01],
} as const;

/** `do { body } while (counter < end)`; the body has to advance the counter, and must be entered only when counter < end. */
export function loopUntil(counter: number, end: number, body: Code): Code {
  return [0x03, 0x40, ...body, ...wasm.get(counter), ...wasm.get(end), ...wasm.lessUnsigned, 0x0d, 0x00, 0x0b];
}

/** Runs the body only when a < b (unsigned). */
export function whenLess(a: Code, b: Code, body: Code): Code {
  return [...a, ...b, ...wasm.lessUnsigned, 0x04, 0x40, ...body, 0x0b];
}

function section(id: number, content: Code): Code {
  return [id, ...unsigned(content.length), ...content];
}

function vector(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()];
}

function text(value: string): Code {
  return vector([...new TextEncoder().encode(value)].map(byte => [byte]));
}

/** LEB128 of a number below 2^32. */
function unsigned(value: number): Code {
  const bytes: number[] = [];
  let rest = value >>> 0;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return bytes;
}

/** Signed LEB128 of a 32-bit number. */
function signed(value: number): Code {
  const bytes: number[] = [];
  let rest = value | 0;
  for (;;) {
    const low = rest & 0x7f;
    rest >>= 7;
    const last = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
    bytes.push(last ? low : low | 0x80);
    if (last) return bytes;
  }
}
