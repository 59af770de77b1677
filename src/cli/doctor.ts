/**
 * `almanac doctor`: what this machine has and lacks, with the next step. `almanac doctor gpu` looks at the GPU alone.
 * Exit code 0: everything works; 1: something does not.
 */
import { existsSync } from 'node:fs';
import { deviceEnvironment } from '../config/device-environment.ts';
import { readEnvironment } from '../config/environment.ts';
import { openProject } from '../config/project.ts';
import { findTemporal } from '../dev/find-temporal.ts';
import { diagnoseGpu, type GpuDiagnosis, runtimeFolder } from '../engine/gpu/diagnose.ts';
import { systemLoaderPaths } from '../engine/gpu/loader-paths.ts';
import type { EnginePool } from '../engine/pool.ts';
import type { ProbedDevice } from '../engine/verbs/probe-device.ts';
import { openStore } from '../storage/open.ts';
import { probeProblem, probeStore } from '../storage/probe.ts';
import { withEngine } from './engine.ts';
import { exitCode, show } from './output.ts';

export interface DoctorOptions {
  readonly project?: string;
  readonly json?: boolean;
}

interface Finding {
  readonly check: string;
  readonly passed: boolean;
  readonly detail: string;
}

/** Node, DuckDB, ONNX Runtime, the Temporal server and, inside a project, its store. */
export async function doctor(options: DoctorOptions): Promise<void> {
  const findings = [
    checkNode(),
    ...(await onDevice(engine => Promise.all([checkDuckDb(engine), checkRuntime(engine)]))),
    await checkTemporal(),
    await checkStore(options.project),
  ];
  finish(
    findings.every(finding => finding.passed),
    options,
    { passed: findings.every(f => f.passed), findings },
    () => findings.map(({ check, passed, detail }) => `${passed ? 'ok    ' : 'failed'} ${check}: ${detail}`),
  );
}

export interface GpuReport extends GpuDiagnosis {
  readonly passed: boolean;
  readonly probe: ProbedDevice;
}

/** The CUDA provider: its libraries, what they need, and one row scored on it. */
export async function doctorGpu(options: DoctorOptions): Promise<void> {
  const environment = deviceEnvironment();
  const diagnosis = diagnoseGpu(runtimeFolder(), systemLoaderPaths(environment['LD_LIBRARY_PATH'] ?? null));
  const probe = await onDevice(engine => engine.run('probe-device', { provider: 'cuda' }, { deadlineMs: 120_000 }));
  const report: GpuReport = { passed: probe.works, ...diagnosis, probe };
  finish(report.passed, options, report, gpuLines);
}

export function gpuLines(report: GpuReport): readonly string[] {
  const { runtime, libraries, driver, problems, probe } = report;
  const lines = [`ONNX Runtime ${runtime.version} in ${runtime.folder}`, `driver: ${driver ?? 'none'}`];
  for (const { path, state, needed } of libraries) {
    lines.push(`${state.padEnd(10)} ${path}`);
    for (const { name, path: found } of needed) lines.push(`           ${name} → ${found ?? 'missing'}`);
  }
  lines.push(probe.works ? 'one row was scored on CUDA' : `CUDA does not work: ${probe.problem}`);
  if (!probe.works && problems.length === 0) {
    lines.push(
      'every library is there; the driver may be too old for them: compare it with the CUDA version they need',
    );
  }
  return [...lines, ...problems.map((problem, index) => `${index + 1}. ${problem}`)];
}

function finish<T>(passed: boolean, { json }: DoctorOptions, report: T, lines: (report: T) => readonly string[]): void {
  show(json, report, lines);
  if (!passed) process.exitCode = exitCode.failed;
}

function onDevice<Result>(use: (engine: EnginePool) => Promise<Result>): Promise<Result> {
  return withEngine('doctor', ({ engine }) => use(engine), { environment: deviceEnvironment() });
}

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const passed = major > 20 || (major === 20 && minor >= 19);
  return { check: 'Node', passed, detail: `${process.version}${passed ? '' : '; 20.19 or newer is needed'}` };
}

async function checkDuckDb(engine: EnginePool): Promise<Finding> {
  return attempt('DuckDB', async () => {
    const { rows } = await engine.run('query', { sql: 'SELECT 1 + 1', tables: {} }, { deadlineMs: 60_000 });
    return { passed: rows[0]?.[0] === 2, detail: 'answers' };
  });
}

async function checkRuntime(engine: EnginePool): Promise<Finding> {
  return attempt('ONNX Runtime', async () => {
    const probe = await engine.run('probe-device', { provider: 'cpu' }, { deadlineMs: 60_000 });
    const bundled = probe.providers.filter(provider => provider.bundled).map(provider => provider.name);
    const detail = probe.problem ?? `scores; providers: ${bundled.join(', ')} (almanac doctor gpu looks for CUDA)`;
    return { passed: probe.works, detail };
  });
}

async function checkTemporal(): Promise<Finding> {
  return attempt('Temporal', async () => {
    const { temporalAddress, path, cacheFolder } = readEnvironment();
    if (temporalAddress !== null) return { passed: true, detail: `TEMPORAL_ADDRESS is ${temporalAddress}` };
    // Only what is there already: a doctor downloads nothing.
    const found = await findTemporal({ path, cacheFolder, steps: ['path', 'cache'] }).catch(() => null);
    const detail = found?.executable ?? 'not on this machine yet; almanac up brings it, or install the temporal CLI';
    return { passed: true, detail };
  });
}

async function checkStore(folder: string | undefined): Promise<Finding> {
  return attempt('store', async () => {
    if (folder === undefined && !existsSync('almanac.yaml'))
      return { passed: true, detail: 'no project in this folder' };
    const project = openProject(folder ?? '.');
    const problem = probeProblem(await probeStore(openStore(project.store, project.s3)));
    return { passed: problem === null, detail: problem ?? `${project.store} keeps its promises` };
  });
}

async function attempt(check: string, look: () => Promise<Omit<Finding, 'check'>>): Promise<Finding> {
  try {
    return { check, ...(await look()) };
  } catch (error) {
    return { check, passed: false, detail: error instanceof Error ? error.message : String(error) };
  }
}
