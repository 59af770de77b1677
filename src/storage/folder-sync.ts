/** Syncs of one folder at the same time are one: with 64 writers into a log, the disk is asked once per round. */
import type { Disk } from './disk.ts';

interface Rounds {
  /** Began before a caller who comes now has written: of no use to it. */
  running: Promise<void>;
  /** Begins when the running one ends; serves everyone who comes meanwhile. */
  next: Promise<void> | null;
}

export class FolderSync {
  readonly #disk: Disk;
  readonly #rounds = new Map<string, Rounds>();

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** Resolves when a sync that began after this call has ended. */
  sync(folder: string): Promise<void> {
    const rounds = this.#rounds.get(folder);
    if (rounds === undefined) return this.#begin(folder);
    rounds.next ??= rounds.running.then(
      () => this.#begin(folder),
      // The error belongs to those of that round.
      () => this.#begin(folder),
    );
    return rounds.next;
  }

  #begin(folder: string): Promise<void> {
    const running = this.#disk.syncFolder(folder);
    const rounds: Rounds = { running, next: null };
    this.#rounds.set(folder, rounds);
    const end = () => {
      if (rounds.next === null) this.#rounds.delete(folder);
    };
    running.then(end, end);
    return running;
  }
}
