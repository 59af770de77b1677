import { expect, test } from 'vitest';
import { probeProblem, probeStore } from '../../src/storage/probe.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { startMotoServer, startS3Server } from '../support/s3-server.ts';

test('refuses moto, which lets two racing writers both win, at one of the first workers that ask', async () => {
  const moto = await startMotoServer();
  try {
    const { bucket, ...options } = moto;
    const store = new S3Store({ bucket, prefix: '' }, options);
    // Its window is microseconds wide: on a busy machine one look may miss it, but every worker that starts looks again.
    let problem: string | null = null;
    for (let look = 0; look < 50 && problem === null; look += 1) problem = probeProblem(await probeStore(store));
    expect(problem).toMatch(/racing (creates|completions of uploads in parts).*expected one winner/s);
  } finally {
    await moto.stop();
  }
});

test('passes versitygw every time', async () => {
  const server = await startS3Server();
  try {
    const { bucket, ...options } = server;
    const store = new S3Store({ bucket, prefix: '' }, options);
    for (let round = 0; round < 20; round += 1) expect(probeProblem(await probeStore(store))).toBeNull();
  } finally {
    await server.stop();
  }
});
