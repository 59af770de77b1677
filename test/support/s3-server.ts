/** Real S3 servers on free ports of this machine, each with a bucket of its own. Their absence fails the tests. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface S3Server {
  readonly endpoint: string;
  readonly bucket: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly region: string;
  stop(): Promise<void>;
}

const credentials = { accessKeyId: 'almanac', secretAccessKey: 'almanac-secret' };
const region = 'us-east-1';
const bucket = 'almanac-test';

/** versitygw: stores in a folder, honours conditions under races. Built by `scripts/s3-server.sh` on first use. */
export async function startS3Server(): Promise<S3Server> {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-s3-'));
  mkdirSync(join(folder, bucket));
  const port = await freePort();
  const { accessKeyId, secretAccessKey } = credentials;
  const server = spawn(
    pathFrom('s3-server.sh'),
    [
      '--access',
      accessKeyId,
      '--secret',
      secretAccessKey,
      '--region',
      region,
      '--port',
      `127.0.0.1:${port}`,
      'posix',
      folder,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const stop = async () => {
    await ended(server);
    rmSync(folder, { recursive: true, force: true });
  };
  return ready({ endpoint: `http://127.0.0.1:${port}`, bucket, credentials, region, stop }, server);
}

/**
 * moto: imitates S3, but two racing conditional completions may both win. For the probe, which must notice. Python's threads
 * take turns every five milliseconds, which may pass over the moment between check and write; here they do all the time.
 */
export async function startMotoServer(): Promise<S3Server> {
  const port = await freePort();
  const python = join(dirname(pathFrom('moto-server.sh')), 'python');
  const code = 'import sys; sys.setswitchinterval(1e-6); from moto.server import main; main()';
  const server = spawn(python, ['-c', code, '-H', '127.0.0.1', '-p', String(port)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const endpoint = `http://127.0.0.1:${port}`;
  const moto = await ready({ endpoint, bucket, credentials, region, stop: () => ended(server) }, server);
  const created = await fetch(`${endpoint}/${bucket}`, { method: 'PUT' });
  if (!created.ok) throw new Error(`moto refused to create a bucket: ${created.status} ${await created.text()}`);
  return moto;
}

/** The script prints the path of the server after installing it when needed. */
function pathFrom(script: string): string {
  const path = fileURLToPath(new URL(`../../scripts/${script}`, import.meta.url));
  return execFileSync('sh', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

async function ready(server: S3Server, child: ChildProcess): Promise<S3Server> {
  let said = '';
  child.stderr?.on('data', chunk => {
    said = `${said}${chunk}`.slice(-2000);
  });
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the S3 server ended with ${child.exitCode}: ${said}`);
    if (await answers(server.endpoint)) return server;
    await sleep(50);
  }
  await server.stop();
  throw new Error(`the S3 server at ${server.endpoint} did not answer within 30 s: ${said}`);
}

async function answers(endpoint: string): Promise<boolean> {
  try {
    await (await fetch(endpoint)).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise(resolve => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exit;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise(resolve => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
