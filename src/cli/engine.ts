/** An engine for one command: children and a scratch folder that are gone afterwards, however the command ends. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EnginePool, type EnginePoolOptions } from '../engine/pool.ts';

export interface CommandEngine {
  readonly engine: EnginePool;
  /** Folder for the command's own files. */
  readonly scratch: string;
}

/** `name` tells whose folder it is when one is found. One child at a time unless `options` says otherwise. */
export async function withEngine<Result>(
  name: string,
  use: (of: CommandEngine) => Promise<Result>,
  options: Partial<Omit<EnginePoolOptions, 'scratch'>> = {},
): Promise<Result> {
  const scratch = await mkdtemp(join(tmpdir(), `almanac-${name}-`));
  const engine = new EnginePool({ size: 1, ...options, scratch: join(scratch, 'engine') });
  try {
    return await use({ engine, scratch });
  } finally {
    await engine.close();
    await rm(scratch, { recursive: true, force: true });
  }
}
