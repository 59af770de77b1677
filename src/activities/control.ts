/** Pinning definitions and starting workflows under their business ids. */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { readDefinition } from '../config/model-definition.ts';
import { taskQueue } from '../domain/ids.ts';
import type { Services } from './services.ts';
import type { ControlActivities } from './types.ts';

export function createControl(services: Services): Pick<ControlActivities, 'pinDefinition' | 'startWorkflow'> {
  const { catalog, client, project } = services;
  return {
    /** Reads the file once; from here on everything goes by the digest. */
    async pinDefinition({ model }) {
      const parsed = readDefinition(project.folder, model);
      const definition = await catalog.putDefinition(parsed);
      return { definition, monitorAfterScore: parsed.schedules.monitor === 'after_score' };
    },

    /** Starts the business id, or finds it there: running, or ended well. One that failed may be started again. */
    async startWorkflow({ type, workflowId, input }) {
      try {
        const handle = await client.workflow.start(type, {
          workflowId,
          taskQueue: taskQueue.control,
          args: [input],
          workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY',
          workflowIdConflictPolicy: 'FAIL',
        });
        return { workflowId: handle.workflowId, found: false };
      } catch (error) {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
        return { workflowId, found: true };
      }
    },
  };
}
