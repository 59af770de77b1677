/** What Almanac needs of a namespace: search attributes for the inbox of approvals, and histories kept long enough to audit. */
import { Connection } from '@temporalio/client';
import { msToTs, tsToMs } from '@temporalio/common/lib/time.js';
import { type SearchAttributeName, searchAttributes } from '../domain/ids.ts';
import type { TemporalTarget } from './given-server.ts';

/** Values of the server's IndexedValueType. */
const indexedValueType: Readonly<Record<(typeof searchAttributes)[SearchAttributeName], number>> = {
  KEYWORD: 2,
  DATETIME: 6,
};
const msPerDay = 86_400_000;

/**
 * Creates missing search attributes and raises the retention; running it again changes nothing.
 * @throws Error naming the attributes a server refuses, with the command for its operator.
 */
export async function prepareNamespace(target: TemporalTarget, options: { retentionDays?: number } = {}) {
  const connection = await Connection.connect(target.connection);
  try {
    await createSearchAttributes(connection, target.namespace);
    if (options.retentionDays !== undefined) await raiseRetention(connection, target.namespace, options.retentionDays);
  } finally {
    await connection.close();
  }
}

async function createSearchAttributes(connection: Connection, namespace: string): Promise<void> {
  const present = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.entries(searchAttributes).filter(([name]) => !(name in (present.customAttributes ?? {})));
  if (missing.length === 0) return;
  try {
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map(([name, type]) => [name, indexedValueType[type]])),
    });
  } catch (error) {
    // Two processes that prepare at once: the other one was faster.
    const now = await connection.operatorService.listSearchAttributes({ namespace });
    if (missing.every(([name]) => name in (now.customAttributes ?? {}))) return;
    const lines = missing.map(
      ([name, type]) =>
        `  temporal operator search-attribute create --namespace ${namespace} --name ${name} --type ${typeName(type)}`,
    );
    throw new Error(
      `namespace ${namespace}: search attributes ${missing.map(([name]) => name).join(', ')} are missing and could not be ` +
        `created. An operator can run:\n${lines.join('\n')}`,
      { cause: error },
    );
  }
}

async function raiseRetention(connection: Connection, namespace: string, days: number): Promise<void> {
  const described = await connection.workflowService.describeNamespace({ namespace });
  if (tsToMs(described.config?.workflowExecutionRetentionTtl) >= days * msPerDay) return;
  await connection.workflowService.updateNamespace({
    namespace,
    config: { workflowExecutionRetentionTtl: msToTs(days * msPerDay) },
  });
}

function typeName(type: 'KEYWORD' | 'DATETIME'): string {
  return type === 'KEYWORD' ? 'Keyword' : 'Datetime';
}
