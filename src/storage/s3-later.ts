/**
 * An S3 store that is opened with the first question. Loading the SDK takes longer than all else that a command loads, and
 * most projects keep their store in a folder.
 */
import type { ObjectStore } from './object-store.ts';
import type { S3Store } from './s3.ts';
import type { S3Location, S3Options } from './s3-client.ts';

export class S3StoreLater implements ObjectStore {
  readonly url: string;
  readonly #open: () => Promise<S3Store>;
  #opened: Promise<S3Store> | null = null;

  constructor(location: S3Location, options: S3Options) {
    this.url = `s3://${location.bucket}/${location.prefix}`;
    this.#open = async () => {
      const { S3Store } = await import('./s3.ts');
      return new S3Store(location, options);
    };
  }

  async get(...question: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    return (await this.#store()).get(...question);
  }

  async download(...question: Parameters<ObjectStore['download']>): ReturnType<ObjectStore['download']> {
    return (await this.#store()).download(...question);
  }

  async putIfAbsent(...question: Parameters<ObjectStore['putIfAbsent']>): ReturnType<ObjectStore['putIfAbsent']> {
    return (await this.#store()).putIfAbsent(...question);
  }

  async put(...question: Parameters<ObjectStore['put']>): ReturnType<ObjectStore['put']> {
    return (await this.#store()).put(...question);
  }

  async upload(...question: Parameters<ObjectStore['upload']>): ReturnType<ObjectStore['upload']> {
    return (await this.#store()).upload(...question);
  }

  async head(...question: Parameters<ObjectStore['head']>): ReturnType<ObjectStore['head']> {
    return (await this.#store()).head(...question);
  }

  async list(...question: Parameters<ObjectStore['list']>): ReturnType<ObjectStore['list']> {
    return (await this.#store()).list(...question);
  }

  async delete(...question: Parameters<ObjectStore['delete']>): ReturnType<ObjectStore['delete']> {
    return (await this.#store()).delete(...question);
  }

  /** For the probe of the store, which races completions only where a store has this. */
  async prepareParts(...question: Parameters<S3Store['prepareParts']>): ReturnType<S3Store['prepareParts']> {
    return (await this.#store()).prepareParts(...question);
  }

  #store(): Promise<S3Store> {
    this.#opened ??= this.#open();
    return this.#opened;
  }
}
