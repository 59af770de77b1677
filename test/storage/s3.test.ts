import { expect, test } from 'vitest';
import { S3Store } from '../../src/storage/s3.ts';
import { S3StoreLater } from '../../src/storage/s3-later.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { startS3Server } from '../support/s3-server.ts';
import { describeStore } from './contract.ts';
import { fakeS3 } from './support/fake-s3.ts';

const mib = 2 ** 20;
const credentials = { accessKeyId: 'x', secretAccessKey: 'y' };

describeStore('S3 store on versitygw', async () => {
  const server = await startS3Server();
  const { endpoint, region, credentials, bucket } = server;
  const open = () =>
    new S3Store(
      { bucket, prefix: 'a/b' },
      { endpoint, region, credentials, singleBytesMax: 5 * mib, partBytes: 5 * mib },
    );
  const [store, other] = [open(), open()];
  const close = async () => {
    for (const opened of [store, other]) opened.close();
    await server.stop();
  };
  return { store, other, largeBytes: 11 * mib, close };
});

describeStore('S3 store on the server in this process', async () => {
  const proxy = await startFaultProxy(fakeS3().handle);
  const options = { endpoint: proxy.endpoint, region: 'us-east-1', credentials, singleBytesMax: mib, partBytes: mib };
  const place = { bucket: 'bucket', prefix: '' };
  // One of the two as projects open it: with the first question.
  const [store, other] = [new S3StoreLater(place, options), new S3Store(place, options)];
  const close = async () => {
    other.close();
    await proxy.stop();
  };
  return { store, other, largeBytes: 3 * mib + 17, close };
});

test('many requests at a time may share a signal, without a warning of a leak', async () => {
  const proxy = await startFaultProxy(fakeS3().handle);
  const options = { endpoint: proxy.endpoint, region: 'us-east-1', credentials };
  const store = new S3Store({ bucket: 'bucket', prefix: '' }, options);
  const warnings: string[] = [];
  const hear = (warning: Error) => warnings.push(warning.name);
  process.on('warning', hear);
  await store.put('key', new Uint8Array(100));
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 30 }, (_, n) => store.get('key', { range: [n, n + 1], signal })));
  // Warnings come a tick later.
  await new Promise(setImmediate);
  process.off('warning', hear);
  expect(warnings).not.toContain('MaxListenersExceededWarning');
  store.close();
  await proxy.stop();
});
