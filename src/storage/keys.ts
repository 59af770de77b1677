/**
 * The only place that builds object names. Nothing a user wrote becomes part of a name unescaped, so no model or partition
 * can climb out of its folder or collide with another.
 *
 *     definitions/                       log: which definition each model has had
 *     models/<model>/versions/           log, one per noun: versions, runs, evidence, deployment, promotions, jobs, decisions
 *     documents/<kind>/<digest>.json     canonical JSON under its own SHA-256
 *     artifacts/<digest>                 model files under their own SHA-256
 *     <output>/_delta_log/<20 digits>.json, <output>/partition=<p>/…parquet     a table of predictions
 *     quarantine/<model>/…                 a table of quarantined rows
 *     audit/                             log: erasures and other acts that must be accounted for
 */

/** The logs of one model. */
export const modelLogs = ['versions', 'runs', 'evidence', 'deployment', 'promotions', 'jobs', 'decisions'] as const;
export type ModelLog = (typeof modelLogs)[number];

/** Numbers are padded so that the order of names is the order of entries. */
const digitsOfNumber = 20;

export const keys = {
  definitionLog: 'definitions',
  auditLog: 'audit',
  modelLog: (model: string, log: ModelLog) => `models/${segment(model)}/${log}`,

  documents: 'documents/',
  document: (kind: string, digest: string) => `documents/${segment(kind)}/${digest}.json`,
  artifacts: 'artifacts/',
  artifact: (digest: string) => `artifacts/${digest}`,

  logEntry: (prefix: string, number: number) => `${prefix}/${padded(number)}.json`,
  /** A run of entries in one object; a copy that only makes reading faster. */
  logSegment: (prefix: string, first: number) => `${prefix}/segments/${padded(first)}.ndjson`,

  /** Root of the table of a model's quarantined rows. */
  quarantine: (model: string) => `quarantine/${segment(model)}`,

  deltaLog: (root: string) => `${root}/_delta_log`,
  /** For Delta readers; ours use segments. */
  deltaCheckpoint: (root: string, version: number) => `${root}/_delta_log/${padded(version)}.checkpoint.parquet`,
  deltaLastCheckpoint: (root: string) => `${root}/_delta_log/_last_checkpoint`,
  /** Segments stay outside `_delta_log`: Delta readers list that folder. */
  deltaSegment: (root: string, first: number) => `${root}/_segments/${padded(first)}.ndjson`,
  partitionFolder: (partition: string) => `partition=${segment(partition)}`,
} as const;

export interface PartFileName {
  readonly partition: string;
  readonly generation: number;
  readonly chunk: number;
  /** Attempt of the activity that writes it. */
  readonly attempt: number;
  /** Drawn anew for every file, so that no name is ever used twice. */
  readonly unique: string;
}

/** Path of a part file relative to its table. */
export function partFilePath(name: PartFileName): string {
  const { partition, generation, chunk, attempt, unique } = name;
  return `${keys.partitionFolder(partition)}/g${generation}-c${chunk}-${attempt}-${unique}.parquet`;
}

/** What a part file's name says; null when the file was not named by `partFilePath`. */
export function parsePartFilePath(path: string): { partition: string; generation: number } | null {
  const match = /^partition=([^/]+)\/g(\d+)-c\d+-\d+-[0-9a-f-]+\.parquet$/.exec(path);
  if (match === null) return null;
  return { partition: unsegment(match[1]!), generation: Number(match[2]) };
}

/** The number in the name of a log entry; null when the name is none. */
export function entryNumberOf(key: string): number | null {
  const match = /(?:^|\/)(\d{20})\.json$/.exec(key);
  return match === null ? null : Number(match[1]);
}

/** Whether the object lies where only Almanac writes and has none of the names it gives: it may be in the way of a log. */
export function isForeign(key: string): boolean {
  if (!/^(?:definitions|audit|models|documents|artifacts)(?:\/|$)/.test(key)) return false;
  return !knownNames.some(name => name.test(key));
}

const knownNames = [
  new RegExp(
    `^(?:definitions|audit|models/[^/]+/(?:${modelLogs.join('|')}))/(?:\\d{20}\\.json|segments/\\d{20}\\.ndjson)$`,
  ),
  /^documents\/[^/]+\/[0-9a-f]{64}\.json$/,
  /^artifacts\/[0-9a-f]{64}$/,
];

/** Text as one path segment: letters, digits, `.`, `_` and `-` stay, every other byte becomes `~XX` (not `%XX`, which Delta readers would decode). */
export function segment(text: string): string {
  if (text === '') throw new Error('An empty name cannot become part of an object name');
  const escaped = Array.from(new TextEncoder().encode(text), byte => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9._-]/.test(character) ? character : `~${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
  // `.` and `..` mean folders; a leading dot hides a file.
  return escaped.startsWith('.') ? `~2E${escaped.slice(1)}` : escaped;
}

export function unsegment(escaped: string): string {
  const bytes = escaped.replaceAll(/~([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return new TextDecoder().decode(Uint8Array.from(bytes, character => character.charCodeAt(0)));
}

function padded(number: number): string {
  return String(number).padStart(digitsOfNumber, '0');
}
