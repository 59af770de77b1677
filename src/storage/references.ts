/** Which objects a document or a log entry names by digest. What is named must be in the store, or have been deleted on purpose. */
import { keys, type ModelLog } from './keys.ts';

/** Keys of the objects that this document (by its key and text) names; none when it is of a kind that names none. */
export function namedByDocument(key: string, text: string): readonly string[] {
  const kind = /^documents\/([^/]+)\//.exec(key)?.[1] ?? '';
  return named(documentFields[kind], text);
}

/** The same for an entry of the log with this prefix. */
export function namedByEntry(prefix: string, text: string): readonly string[] {
  const log = prefix.slice(prefix.lastIndexOf('/') + 1);
  // A Delta commit has one action per line; the digests stand in the first.
  return named(logFields[log], text.slice(0, text.indexOf('\n')));
}

/** What a field's value names; the field may stand at any depth. */
type Fields = Readonly<Record<string, (digest: string) => string>>;

const artifact = (digest: string) => keys.artifact(digest);
const document = (kind: string) => (digest: string) => keys.document(kind, digest);

const documentFields: Readonly<Record<string, Fields>> = {
  plan: {
    definition: document('definition'),
    bundle: document('bundle'),
    baseline: document('baseline'),
    profile: document('profile'),
    // A repaired input: `artifact:<digest>`.
    path: artifact,
  },
  receipts: { plan: document('plan'), profile: document('profile'), artifact },
  job: { plan: document('plan'), profiles: document('profile'), evidence: document('evidence'), artifacts: artifact },
  bundle: { sha256: artifact },
  profile: { baseline: document('baseline') },
  repair: { artifact },
};

const logFields: Readonly<Record<string, Fields>> = {
  [keys.definitionLog]: { digest: document('definition') },
  _delta_log: { manifestDigest: document('manifest'), planDigest: document('plan') },
  ...({
    versions: {
      bundle: document('bundle'),
      definition: document('definition'),
      profile: document('profile'),
      baseline: document('baseline'),
      snapshots: document('snapshot'),
    },
    runs: {},
    evidence: { digest: document('evidence') },
    deployment: { bundle: document('bundle') },
    promotions: {},
    jobs: { plan: document('plan'), profiles: document('profile') },
    decisions: { digest: document('decision') },
  } satisfies Readonly<Record<ModelLog, Fields>>),
};

function named(fields: Fields | undefined, text: string): readonly string[] {
  if (fields === undefined) return [];
  try {
    return [...new Set(digestsIn(JSON.parse(text), fields, null))];
  } catch {
    // Whether the text is JSON at all is checked elsewhere, with the byte that is wrong.
    return [];
  }
}

function digestsIn(value: unknown, fields: Fields, keyOf: ((digest: string) => string) | null): readonly string[] {
  if (typeof value === 'string') {
    const digest = /^(?:artifact:)?([0-9a-f]{64})$/.exec(value)?.[1];
    return keyOf === null || digest === undefined ? [] : [keyOf(digest)];
  }
  if (Array.isArray(value)) return value.flatMap(item => digestsIn(item, fields, keyOf));
  if (typeof value !== 'object' || value === null) return [];
  // A field that is itself an object of digests (`snapshots`) names with each of its values.
  return Object.entries(value).flatMap(([name, item]) => digestsIn(item, fields, fields[name] ?? keyOf));
}
