/** A server the user already has: `TEMPORAL_ADDRESS` or a profile of the `temporal` CLI, read the way the CLI reads it. */
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { NativeConnectionOptions } from '@temporalio/worker';

export interface TemporalTarget {
  readonly address: string;
  readonly namespace: string;
  /** TLS, API key and headers of a given server; a local one has none. For `Connection` and `NativeConnection` alike. */
  readonly connection: NativeConnectionOptions;
}

/**
 * The server named by environment or profile, or null when none is. `profile` null is the CLI's default profile.
 * @throws Error when a named profile does not exist or the file is damaged.
 */
export function givenServer(profile: string | null, namespace: string): TemporalTarget | null {
  const config = loadClientConnectConfig(profile === null ? {} : { profile });
  const address = config.connectionOptions.address;
  if (address === undefined || address === '') return null;
  return { address, namespace: config.namespace ?? namespace, connection: config.connectionOptions };
}

export function localTarget(address: string, namespace: string): TemporalTarget {
  return { address, namespace, connection: { address } };
}
