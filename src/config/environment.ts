/** The only reader of `process.env`. Everything has a default that works on a laptop. */
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';

export interface Environment {
  /** `TEMPORAL_ADDRESS` or a profile of the `temporal` CLI; null: a local dev server is found or started. */
  readonly temporalAddress: string | null;
  /** `ALMANAC_STORE`: overrides `store` of almanac.yaml. */
  readonly store: string | null;
  /** `ALMANAC_DATA`: folder with the data sets of the examples. */
  readonly data: string | null;
  /** Where downloaded binaries are kept: `$XDG_CACHE_HOME/almanac` or `~/.cache/almanac`. */
  readonly cacheFolder: string;
  /** Folders of `PATH`. */
  readonly path: readonly string[];
  /** `ALMANAC_FAILPOINTS`: where a worker kills or freezes itself (`storage/failpoint.ts`). Tests only. */
  readonly failpoints: string | null;
  readonly user: string;
  readonly ci: boolean;
}

export function readEnvironment(env: NodeJS.ProcessEnv = process.env): Environment {
  return {
    temporalAddress: text(env['TEMPORAL_ADDRESS']),
    store: text(env['ALMANAC_STORE']),
    data: text(env['ALMANAC_DATA']),
    cacheFolder: join(text(env['XDG_CACHE_HOME']) ?? join(homedir(), '.cache'), 'almanac'),
    path: (env['PATH'] ?? '').split(':').filter(folder => folder !== ''),
    failpoints: text(env['ALMANAC_FAILPOINTS']),
    user: text(env['USER']) ?? userInfo().username,
    ci: text(env['CI']) !== null,
  };
}

/** The environment a child process gets on purpose: enough to find programs and its home, no credentials. */
export function childEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const kept = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];
  const clean = Object.fromEntries(
    kept.flatMap(name => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
  return { ...clean, ...extra };
}

/** The environment of our own worker processes: everything the parent has (store credentials, Temporal profile). */
export function workerEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const all = Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return { ...Object.fromEntries(all), ...extra };
}

/** The AWS SDK warns on every start under Node 20; our users cannot act on it, and stderr is for progress. */
export function silenceSdkNodeWarning(): void {
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
}

function text(value: string | undefined): string | null {
  return value === undefined || value === '' ? null : value;
}
