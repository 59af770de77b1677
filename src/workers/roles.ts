/** Which process does what: a role is a task queue with its limits. */
import { taskQueue } from '../domain/ids.ts';

export type Role = 'control' | 'data' | 'training' | 'scoring' | 'gpu';
export const roles: readonly Role[] = ['control', 'data', 'training', 'scoring', 'gpu'];

export interface RoleLimits {
  readonly taskQueue: string;
  /** Activities at once. Heavy ones share the engine's children, which are as many as there are cores. */
  readonly activities: (cores: number) => number;
  /** Runs workflow code; one such role is enough in a project. */
  readonly workflows: boolean;
}

export const roleLimits: Readonly<Record<Role, RoleLimits>> = {
  control: { taskQueue: taskQueue.control, activities: () => 100, workflows: true },
  data: { taskQueue: taskQueue.data, activities: cores => cores + 2, workflows: false },
  training: { taskQueue: taskQueue.training, activities: () => 2, workflows: false },
  // One more than cores: the next chunk is prepared while the others compute.
  scoring: { taskQueue: taskQueue.scoring, activities: cores => cores + 1, workflows: false },
  gpu: { taskQueue: taskQueue.gpu, activities: () => 1, workflows: false },
};

export function parseRoles(text: string): readonly Role[] {
  return text.split(',').map(name => {
    const role = roles.find(known => known === name.trim());
    if (role === undefined) throw new Error(`unknown role ${JSON.stringify(name)}; known: ${roles.join(', ')}`);
    return role;
  });
}
