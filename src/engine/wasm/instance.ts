/** A module on its memory: where things lie in it, and the compiled functions that work on it. */
import { setFlagsFromString } from 'node:v8';
import { ModuleBuilder } from './encoder.ts';

export const pageBytes = 65_536;

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
 * second of other cores' time over the hundreds of functions of a model. The first block runs them all, so they are compiled
 * together, by V8's threads, and not one by one as they are reached. V8 looks at both flags when the module is made, so they
 * are changed for that moment only.
 */
function compileLate(code: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  setFlagsFromString(`--wasm-tiering-budget=${tieringBudget.late}`);
  setFlagsFromString('--no-wasm-lazy-compilation');
  try {
    return new WebAssembly.Module(code);
  } finally {
    setFlagsFromString(`--wasm-tiering-budget=${tieringBudget.usual}`);
    setFlagsFromString('--wasm-lazy-compilation');
  }
}
