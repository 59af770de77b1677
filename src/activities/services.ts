/** What activities work with, made once per process; see `workers/services.ts` for how. */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import type { Project } from '../config/project.ts';
import type { Contract } from '../domain/contract.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { Signature } from '../domain/signature.ts';
import type { EnginePool } from '../engine/pool.ts';
import type { InputTables } from '../inputs/input-tables.ts';
import type { Catalog } from '../storage/catalog.ts';
import { canonicalJson } from '../storage/digest.ts';
import type { StoragePorts } from '../storage/ports.ts';
import { PredictionsTable } from '../storage/table/predictions-table.ts';

export interface Services {
  readonly project: Project;
  readonly ports: StoragePorts;
  readonly catalog: Catalog;
  readonly engine: EnginePool;
  readonly inputs: InputTables;
  readonly client: Client;
  /** Folder for files of running activities and for what was fetched; may be emptied while nothing runs. */
  readonly scratch: string;
  /** How people here call the `temporal` program, with its address. */
  readonly temporalCommand: string;
}

export function predictionsOf(services: Services, definition: ModelDefinition): PredictionsTable {
  return new PredictionsTable(services.ports, definition.score.output);
}

/** A folder of this attempt alone, gone afterwards. */
export async function inScratch<Result>(services: Services, use: (folder: string) => Promise<Result>): Promise<Result> {
  const root = join(services.scratch, 'work');
  await mkdir(root, { recursive: true });
  const { activityType, attempt } = Context.current().info;
  const folder = await mkdtemp(join(root, `${activityType}-${attempt}-`));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The files of a bundle in a folder that all activities of this machine share; verified each time. */
export async function fetchedBundle(services: Services, digest: string): Promise<string> {
  const folder = join(services.scratch, 'bundles', digest);
  await mkdir(folder, { recursive: true });
  await services.catalog.fetchBundle(digest, folder);
  return folder;
}

/** A baseline as a file, for engine children. */
export async function fetchedBaseline(services: Services, digest: string): Promise<string> {
  const folder = join(services.scratch, 'baselines');
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${digest}.json`);
  // Byte for byte the document, because its digest is what profiles name. Chunks beside this one read the same file: it
  // appears whole.
  const arriving = `${path}.${randomUUID()}`;
  await writeFile(arriving, canonicalJson(await services.catalog.baseline(digest)));
  await rename(arriving, path);
  return path;
}

/** The contract a model was trained under, from its bundle. */
export async function contractOf(services: Services, bundle: string): Promise<Contract> {
  return await readJson<Contract>(join(await fetchedBundle(services, bundle), 'contract.json'));
}

/** The graph of a bundle and what feeds it. */
export async function modelFiles(
  services: Services,
  bundle: string,
): Promise<{ readonly onnx: string; readonly signature: Signature }> {
  const folder = await fetchedBundle(services, bundle);
  return { onnx: join(folder, 'model.onnx'), signature: await readJson<Signature>(join(folder, 'signature.json')) };
}

export async function readJson<Document>(path: string): Promise<Document> {
  return JSON.parse(await readFile(path, 'utf8')) as Document;
}
