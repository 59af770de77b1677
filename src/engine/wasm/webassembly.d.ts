/** The part of the WebAssembly API in use here. The compiler knows the whole of it only together with the browser's. */
declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { readonly initial: number; readonly maximum?: number; readonly shared?: boolean });
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }
  class Module {
    constructor(bytes: BufferSource);
  }
  class Instance {
    constructor(
      module: Module,
      imports?: Readonly<Record<string, Readonly<Record<string, Memory | ((...values: number[]) => unknown)>>>>,
    );
    readonly exports: Readonly<Record<string, unknown>>;
  }
  type BufferSource = ArrayBuffer | Uint8Array;
}
