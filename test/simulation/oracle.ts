/**
 * The judge of a simulated run. It looks at the bare store after every change and folds the log in its own plain way, so
 * that a mistake in the production fold cannot hide itself. Names of the invariants: I1–I14 of the commit protocol.
 */
import { createHash } from 'node:crypto';

export interface JudgedFile {
  readonly path: string;
  readonly sha256: string;
}
interface JudgedGeneration {
  readonly partition: string;
  readonly generation: number;
  readonly version: number;
  readonly files: readonly JudgedFile[];
  forgotten: boolean;
}

export class Violation extends Error {}

export class Oracle {
  readonly #root: string;
  /** Content of every object as it is now. */
  readonly #objects: ReadonlyMap<string, string>;
  /** Rows every generation of a partition must have, as sorted ids. */
  readonly #plannedRows: (partition: string) => readonly string[];
  readonly #texts: string[] = [];
  readonly commits = new Map<string, JudgedGeneration>();
  readonly aborts = new Set<string>();
  readonly #highest = new Map<string, number>();
  readonly #current = new Map<string, JudgedGeneration>();

  constructor(
    root: string,
    objects: ReadonlyMap<string, string>,
    plannedRows: (partition: string) => readonly string[],
  ) {
    this.#root = root;
    this.#objects = objects;
    this.#plannedRows = plannedRows;
  }

  /** After a write or deletion of this key. */
  changed(key: string): void {
    if (key.startsWith(`${this.#root}/_delta_log/`)) {
      this.#readLog();
      if (key >= this.#entryKey(this.#texts.length))
        throw new Violation(`I3: ${key} leaves a gap at ${this.#texts.length}`);
    }
    if (!this.#objects.has(key)) for (const generation of this.#current.values()) this.#checkFiles(generation);
  }

  /** I10: only files of decided generations that no retained snapshot references. */
  beforeDelete(key: string): void {
    const match = /partition=([^/]+)\/g(\d+)-/.exec(key);
    if (match === null) throw new Violation(`I10: ${key} is deleted, it is no part file`);
    const name = `${match[1]}/g${match[2]}`;
    const committed = this.commits.get(name);
    if (committed === undefined && !this.aborts.has(name))
      throw new Violation(`I10: ${key} is deleted while ${name} is undecided`);
    const path = key.slice(this.#root.length + 1);
    if (committed !== undefined && !committed.forgotten && committed.files.some(file => file.path === path)) {
      throw new Violation(`I10: ${key} is deleted while version ${committed.version} shows it`);
    }
  }

  current(): readonly JudgedGeneration[] {
    return [...this.#current.values()];
  }
  /** Files some retained snapshot shows. */
  isReferenced(key: string): boolean {
    const path = key.slice(this.#root.length + 1);
    return [...this.commits.values()].some(
      generation => !generation.forgotten && generation.files.some(file => file.path === path),
    );
  }
  get length(): number {
    return this.#texts.length;
  }

  /** I3, I4, I5 on every new entry; entries seen before must not have changed. */
  #readLog(): void {
    for (const [version, text] of this.#texts.entries()) {
      if (this.#objects.get(this.#entryKey(version)) !== text)
        throw new Violation(`I3: entry ${version} changed or vanished`);
    }
    for (;;) {
      const version = this.#texts.length;
      const text = this.#objects.get(this.#entryKey(version));
      if (text === undefined) break;
      this.#judgeEntry(version, text);
      this.#texts.push(text);
    }
  }

  #judgeEntry(version: number, text: string): void {
    const lines = text
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line));
    const { decision, prevHash } = lines[0].commitInfo.almanac;
    const before = version === 0 ? null : hash(this.#texts[version - 1]!);
    if (prevHash !== before) throw new Violation(`I3: entry ${version} does not follow the one before`);
    const name = `${decision.partition}/g${decision.generation}`;
    const highest = this.#highest.get(decision.partition) ?? 0;
    if (decision.kind === 'abort') {
      if (this.commits.has(name)) throw new Violation(`I5: ${name} is given up after its commit`);
      this.aborts.add(name);
    } else if (decision.kind === 'commit') {
      if (this.commits.has(name)) throw new Violation(`I4: ${name} is committed twice`);
      if (this.aborts.has(name)) throw new Violation(`I5: ${name} is committed after it was given up`);
      if (highest > decision.generation) throw new Violation(`I5: ${name} is committed after generation ${highest}`);
      this.#judgeCommit(name, version, lines);
    } else if (decision.kind === 'forget') {
      for (const { partition, generation } of decision.generations) {
        const forgotten = this.commits.get(`${partition}/g${generation}`);
        if (forgotten === undefined)
          throw new Violation(`I10: ${partition}/g${generation} is forgotten, it was never committed`);
        if (forgotten === this.#current.get(partition))
          throw new Violation(`I6: the current generation ${partition}/g${generation} is forgotten`);
        forgotten.forgotten = true;
      }
      return;
    } else return;
    this.#highest.set(decision.partition, Math.max(highest, decision.generation));
  }

  #judgeCommit(name: string, version: number, lines: readonly DeltaLine[]): void {
    const [partition = '', generation = ''] = name.split('/g');
    const adds = lines.flatMap(line => (line.add === undefined ? [] : [line.add]));
    const removed = lines.flatMap(line => (line.remove === undefined ? [] : [line.remove.path]));
    const before = this.#current.get(partition);
    const hidden = before?.files.map(file => file.path) ?? [];
    if (hidden.toSorted().join() !== removed.toSorted().join()) {
      throw new Violation(`I1: version ${version} does not remove exactly the files of the former generation`);
    }
    const files = adds.map(add => ({ path: add.path, sha256: add.tags.sha256 }));
    const judged = { partition, generation: Number(generation), version, files, forgotten: false };
    this.commits.set(name, judged);
    this.#current.set(partition, judged);
    this.#checkFiles(judged);
    const rows = files.flatMap(file => JSON.parse(this.#objects.get(`${this.#root}/${file.path}`)!).rows as string[]);
    const planned = this.#plannedRows(partition);
    if (rows.toSorted().join() !== planned.toSorted().join()) {
      throw new Violation(`I2: version ${version} shows rows ${rows.join()} instead of ${planned.join()}`);
    }
  }

  /** I6: what is visible can be read, and is what was committed. */
  #checkFiles(generation: JudgedGeneration): void {
    for (const file of generation.files) {
      const content = this.#objects.get(`${this.#root}/${file.path}`);
      if (content === undefined)
        throw new Violation(`I6: version ${generation.version} shows ${file.path}, which is not there`);
      if (hash(content) !== file.sha256)
        throw new Violation(`I6: version ${generation.version} shows ${file.path} with other bytes`);
    }
  }

  #entryKey(version: number): string {
    return `${this.#root}/_delta_log/${String(version).padStart(20, '0')}.json`;
  }
}

interface DeltaLine {
  readonly add?: { readonly path: string; readonly tags: { readonly sha256: string } };
  readonly remove?: { readonly path: string };
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
