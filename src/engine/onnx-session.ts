/**
 * ONNX Runtime, called synchronously on one thread. The public `run()` is the same native call behind a `setImmediate`; a
 * scalar function of DuckDB cannot wait for it, so this file uses the binding below it. That is private API of the exact
 * version in package.json, covered by tests. Only engine children (and tests) load this file.
 */
import { createRequire } from 'node:module';
import type { TensorType } from '../domain/signature.ts';
import { EngineFault } from './fault.ts';

const require = createRequire(import.meta.url);

export type TensorData = Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array | readonly string[];

export interface OnnxTensor {
  readonly data: TensorData;
  readonly dims: readonly number[];
}

interface NativeSession {
  loadModel(buffer: ArrayBufferLike, offset: number, length: number, options: object): void;
  run(feeds: object, fetches: object, options: object): Record<string, OnnxTensor>;
  dispose(): void;
  endProfiling(): void;
}

interface NativeModule {
  readonly binding: { readonly InferenceSession: new () => NativeSession };
  initOrt(): void;
}

interface PublicModule {
  readonly Tensor: new (type: string, data: TensorData, dims: readonly number[]) => OnnxTensor;
  readonly env: { logLevel: string };
  listSupportedBackends(): readonly Provider[];
}

export interface Provider {
  readonly name: string;
  /** False: it was built in, but works only when its own libraries are installed. */
  readonly bundled: boolean;
}

export interface SessionOptions {
  /** In order of preference; `['cpu']` by default. An absent provider throws, nothing falls back by itself. */
  readonly executionProviders?: readonly string[];
  readonly extra?: Readonly<Record<string, string>>;
  /** Record which provider runs which node, until `endProfiling`, into a file whose path starts with this. */
  readonly profilePrefix?: string;
}

export class OnnxSession {
  readonly #native: NativeSession;
  readonly #tensor: PublicModule['Tensor'];

  private constructor(native: NativeSession, tensor: PublicModule['Tensor']) {
    this.#native = native;
    this.#tensor = tensor;
  }

  /** Loads from bytes, so that nothing beside the model can be read through its path. */
  static load(bytes: Uint8Array, label: string, options: SessionOptions = {}): OnnxSession {
    const { publicModule, nativeModule } = loadRuntime();
    const native = new nativeModule.binding.InferenceSession();
    try {
      native.loadModel(bytes.buffer, bytes.byteOffset, bytes.byteLength, {
        intraOpNumThreads: 1,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
        logSeverityLevel: 3,
        executionProviders: options.executionProviders ?? ['cpu'],
        ...(options.profilePrefix === undefined
          ? {}
          : { enableProfiling: true, profileFilePrefix: options.profilePrefix }),
        extra: { session: { intra_op: { allow_spinning: '0' }, ...options.extra } },
      });
    } catch (error) {
      throw new EngineFault(
        'bad_model',
        `${label}: ONNX Runtime does not load it: ${messageOf(error)}`,
        { label },
        { cause: error },
      );
    }
    return new OnnxSession(native, publicModule.Tensor);
  }

  tensor(type: TensorType, data: TensorData, dims: readonly number[]): OnnxTensor {
    return new this.#tensor(type, data, dims);
  }

  /** Blocks until the result is there; only `outputs` are computed and copied out. */
  run(feeds: Readonly<Record<string, OnnxTensor>>, outputs: readonly string[]): Readonly<Record<string, OnnxTensor>> {
    const fetches: Record<string, null> = {};
    for (const name of outputs) fetches[name] = null;
    return this.#native.run(feeds, fetches, {});
  }

  /** Writes the file of `profilePrefix`; the session goes on without recording. */
  endProfiling(): void {
    this.#native.endProfiling();
  }

  close(): void {
    this.#native.dispose();
  }
}

/** Loads ONNX Runtime itself, which the first session waits for otherwise. */
export function loadRuntime(): { readonly publicModule: PublicModule; readonly nativeModule: NativeModule } {
  const publicModule = require('onnxruntime-node') as PublicModule;
  const nativeModule = require('onnxruntime-node/dist/binding.js') as NativeModule;
  publicModule.env.logLevel = 'error';
  nativeModule.initOrt();
  return { publicModule, nativeModule };
}

/** A session that is loaded when somebody asks for it: compiled trees that are trusted need none. */
export class LazySession {
  readonly #load: () => OnnxSession;
  #session: OnnxSession | null = null;

  constructor(load: () => OnnxSession) {
    this.#load = load;
  }

  get(): OnnxSession {
    this.#session ??= this.#load();
    return this.#session;
  }

  close(): void {
    this.#session?.close();
  }
}

/** Execution providers this build of ONNX Runtime knows. */
export function listProviders(): readonly Provider[] {
  return (require('onnxruntime-node') as PublicModule).listSupportedBackends();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
