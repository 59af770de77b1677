/** Entry of a thread of `learner-threads.ts`: it fits, keeps what it fitted, and scores with it. */
import { parentPort } from 'node:worker_threads';
import { type LearnedModel, learn } from './learner.ts';
import type { FromLearner, ToLearner } from './learner-threads.ts';

const port = parentPort;
if (port === null) throw new Error('learner-thread.ts is started by LearnerThreads');
const models = new Map<number, LearnedModel>();
port.on('message', (message: ToLearner) => {
  if (message.type === 'forget') models.delete(message.model);
  else void answer(message);
});

async function answer(message: Exclude<ToLearner, { type: 'forget' }>): Promise<void> {
  const { question } = message;
  try {
    if (message.type === 'fit') {
      models.set(question, await learn(message.lesson, message.rows));
      send({ type: 'fitted', question });
    } else {
      const model = models.get(message.model);
      if (model === undefined) throw new Error(`model ${message.model} was let go before it was asked for scores`);
      send({ type: 'scored', question, scores: await model.score(message) });
    }
  } catch (error) {
    send({ type: 'failed', question, error: error instanceof Error ? error : new Error(String(error)) });
  }
}

function send(message: FromLearner): void {
  port?.postMessage(message);
}
