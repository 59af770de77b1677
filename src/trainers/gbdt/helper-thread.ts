/** Entry of a helper thread of `team.ts`. */
import { workerData } from 'node:worker_threads';
import { openWorkspace } from './layout.ts';
import { type HelperData, helpForever } from './team.ts';

const data: HelperData = workerData;
helpForever(data, openWorkspace(data.memory, data.layout, data.thread));
